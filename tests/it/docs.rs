//! The documentation matches the tables: man pages, `--help`, README and changelog.

use crate::site::Text;
use crate::support;
use iipsrv::config::args;
use iipsrv::config::man;
use iipsrv::config::vars::VARS;
use iipsrv::http::Http;
use iipsrv::protocol::iip;
use iipsrv::raster::Format;
use iipsrv::service::Service;
use std::path::Path;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_man_page_is_generated_from_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/iipsrv.8");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, man::page()).unwrap();
    }
    assert!(
        read("man/iipsrv.8") == man::page(),
        "BLESS=1 cargo test --features full --test it docs:: writes it anew"
    );
}

#[test]
fn shell_completions_are_generated_from_the_tables() {
    use clap_complete::Shell;
    for (shell, name) in [
        (Shell::Bash, "iipsrv.bash"),
        (Shell::Zsh, "_iipsrv"),
        (Shell::Fish, "iipsrv.fish"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut args::command(), "iipsrv", &mut text);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap() == text,
            "{name}: BLESS=1 cargo test --features full --test it docs:: writes it anew"
        );
    }
}

#[test]
fn help_and_man_page_name_every_setting_and_argument() {
    let help = args::command().render_long_help().to_string();
    let page = man::page();
    for var in VARS {
        assert!(
            help.contains(&format!("{}={}", var.name, var.default)),
            "{} in --help",
            var.name
        );
        assert!(
            page.contains(&format!(".B {}", var.name)),
            "{} in the man page",
            var.name
        );
    }
    for name in [
        "--bind",
        "--backlog",
        "--http",
        "--demo",
        "--check-config",
        "--strict",
        "--admin",
    ] {
        assert!(
            help.contains(name) && page.contains(&name.replace('-', "\\-")),
            "{name}"
        );
    }
}

/// The hand-written man pages.
const PAGES: [&str; 3] = [
    "man/iipsrv-requests.7",
    "man/iipsrv-images.7",
    "man/iipsrv-migration.7",
];

/// The guides for readers of the source.
const GUIDES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

#[test]
fn readme_and_man_pages_name_only_settings_that_exist() {
    for name in PAGES.iter().chain(&GUIDES) {
        let text = read(name).replace("\\-", "-");
        for word in text
            .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
            .filter(|w| w.len() > 5 && w.contains('_'))
        {
            let known = VARS.iter().any(|var| var.name == word || var.alias == Some(word));
            // names of nginx and Rust, and parts of file names
            let foreign = ["HTTP_HOST", "RUST_", "CARGO_", "GDAL_NODATA"]
                .iter()
                .any(|start| word.starts_with(start));
            assert!(known || foreign, "{name}: {word}");
        }
    }
}

#[test]
fn links_lead_to_files_that_exist() {
    for name in GUIDES {
        let text = read(name);
        let links: Vec<_> = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .filter(|link| !link.starts_with("http"))
            .collect();
        assert!(links.len() > 3 || name != "README.md", "{name} has links");
        for link in links {
            let path = link.split('#').next().unwrap_or_default();
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
                "{name}: {link}"
            );
        }
    }
}

/// A guide names files between backticks, relative to the project or to src.
#[test]
fn guides_name_files_that_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(name);
        let quoted = text.split('`').skip(1).step_by(2);
        for path in quoted.filter(|text| text.contains('/') && !text.contains([' ', '…', '*', '<', '$', ':']))
        {
            let exists = ["", "src"].iter().any(|from| top.join(from).join(path).exists());
            assert!(exists, "{name}: {path}");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn the_readme_is_short_and_shows_the_file_for_nginx() {
    let readme = read("README.md");
    assert!(
        readme.lines().count() <= 200,
        "reference material belongs in the man pages"
    );
    let file = read("debian/nginx/iipsrv.conf");
    let block = file
        .split_once("\n\n")
        .map(|(_, block)| block.trim_end())
        .unwrap();
    assert!(readme.contains(&format!("```nginx\n{block}\n```")), "{block}");
}

#[test]
fn man_pages_name_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for name in PAGES {
        assert!(read(name).contains(&format!("\"iipsrv {version}\"")), "{name}");
    }
}

/// Neither groff nor mandoc warns.
#[test]
#[ignore = "needs mandoc and groff"]
fn man_pages_are_clean() {
    for name in PAGES.iter().chain(&["man/iipsrv.8"]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        for (program, arguments) in [
            ("mandoc", vec!["-T", "lint"]),
            ("groff", vec!["-man", "-Tutf8", "-K", "utf8", "-ww", "-z"]),
        ] {
            let output = std::process::Command::new(program)
                .args(arguments)
                .arg(&path)
                .output()
                .unwrap_or_else(|error| panic!("{program}: {error}: apt-get install mandoc groff"));
            let said = [output.stdout, output.stderr].concat();
            assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
        }
    }
}

/// The demonstration server answers every address among the examples.
#[test]
fn examples_of_requests_are_answered() {
    let args = args::Args {
        demo: true,
        ..Default::default()
    };
    let prefix = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/demo/");
    let service = Service::new(support::config(&[("FILESYSTEM_PREFIX", prefix)]).with_args(&args));
    let examples = Text::examples("man/iipsrv-requests.7").lines("/");
    let addresses: Vec<_> = examples.0.lines().collect();
    assert!(addresses.len() > 30, "{addresses:?}");
    for address in addresses {
        let reply = service.respond(Http::get(address));
        assert_eq!(
            reply.status,
            200,
            "{address}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        assert!(!reply.body.is_empty(), "{address}");
    }
}

/// The page names every supported command, object and output format.
#[test]
fn the_page_of_requests_names_every_command_object_and_format() {
    let page = read("man/iipsrv-requests.7").replace("\\-", "-");
    let words: Vec<_> = page
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-,.".contains(c)))
        .map(|word| word.trim_matches(['.', ',']).to_ascii_lowercase())
        .collect();
    let formats = Format::built().map(Format::name);
    for name in iip::commands().chain(iip::objects()).chain(formats) {
        assert!(words.contains(&name.to_ascii_lowercase()), "{name}");
    }
}

#[test]
fn the_changelog_has_an_entry_for_this_version() {
    assert!(read("CHANGELOG.md").contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}

//! What is written down matches the tables: the man page, `--help`, the README and the changelog.

use iipsrv::config::args;
use iipsrv::config::man;
use iipsrv::config::vars::VARS;
use std::path::Path;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_man_page_is_the_one_that_the_tables_give() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/iipsrv.8");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, man::page()).unwrap();
    }
    assert!(
        read("man/iipsrv.8") == man::page(),
        "BLESS=1 cargo test --test it docs writes it anew"
    );
}

#[test]
fn the_shells_complete_what_the_tables_give() {
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
            "{name}: BLESS=1 cargo test --test it docs writes it anew"
        );
    }
}

#[test]
fn help_and_man_page_name_every_setting_and_every_argument() {
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

#[test]
fn the_readme_names_only_settings_and_files_that_exist() {
    let readme = read("README.md");
    for word in readme
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|w| w.len() > 5 && w.contains('_'))
    {
        let known = VARS.iter().any(|var| var.name == word || var.alias == Some(word));
        // what web servers and everybody's tools for object stores call so
        let foreign = ["HTTP_HOST", "AWS_", "GOOGLE_", "AZURE_"]
            .iter()
            .any(|start| word.starts_with(start));
        assert!(known || foreign, "{word}");
    }
    for name in [
        "fixtures/viewer.webp",
        "man/iipsrv.8",
        "tests/run",
        "benches/pictures",
        "fixtures/README.md",
        "tests/it/main.rs",
    ] {
        assert!(
            readme.contains(name),
            "{name} is no longer named: take it out of this list"
        );
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists(),
            "{name}"
        );
    }
}

#[test]
fn the_readme_and_the_library_tell_the_same_floors() {
    let (readme, library) = (read("README.md"), read("src/lib.rs"));
    let floors: Vec<_> = library
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(floors.len(), 11);
    for floor in floors {
        assert!(readme.contains(floor), "{floor}");
    }
}

#[test]
fn the_changelog_knows_the_version() {
    assert!(read("CHANGELOG.md").contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}

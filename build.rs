//! Finds the C libraries of the feature `native`; without it there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rustc-env=CODEC_VERSIONS={}", crates().join(" "));
    println!("cargo::rustc-env=TURBOJPEG_VERSION=");
    println!("cargo::rustc-env=AVIF_VERSION=");
    // whether AVIF can be written
    println!("cargo::rustc-check-cfg=cfg(avif)");
    #[cfg(feature = "native")]
    {
        link("libturbojpeg", "2.1", "libturbojpeg0-dev");
        println!("cargo::rerun-if-changed=src/codec/avif.c");
        match pkg_config::Config::new().atleast_version("0.9").probe("libavif") {
            Ok(found) => {
                println!("cargo::rustc-cfg=avif");
                println!("cargo::rustc-env=AVIF_VERSION={}", found.version);
                cc::Build::new()
                    .file("src/codec/avif.c")
                    .includes(found.include_paths)
                    .warnings_into_errors(true)
                    .compile("iipsrv_avif");
            }
            Err(_) => println!("cargo::warning=no AVIF output without libavif: apt-get install libavif-dev"),
        }
    }
}

/// Crates that encode and decode, as `NAME=VERSION`.
fn crates() -> Vec<String> {
    const ALWAYS: &[&str] = &[
        "image-webp",
        "jxl-oxide",
        "lerc-rs",
        "lzma-rust2",
        "miniz_oxide",
        "moxcms",
        "png",
        "weezl",
    ];
    const NATIVE: &[&str] = &["libdeflate-sys", "libwebp-sys", "zstd"];
    const RUST: &[&str] = &["jpeg-encoder", "ruzstd", "zune-jpeg"];
    let others = if cfg!(feature = "native") { NATIVE } else { RUST };
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let value = |line: Option<&str>, name: &str| -> Option<String> {
        let value = line?.strip_prefix(name)?.strip_prefix(" = ")?;
        Some(value.trim_matches('"').to_string())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        let mut lines = package.trim().lines();
        let name = value(lines.next(), "name")?;
        let version = value(lines.next(), "version")?;
        [ALWAYS, others]
            .concat()
            .contains(&name.as_str())
            .then(|| format!("{name}={version}"))
    });
    packages.collect()
}

/// Links the system's library, at least of this version, or says which package has it.
#[cfg(feature = "native")]
fn link(library: &str, version: &str, package: &str) {
    if let Ok(found) = pkg_config::Config::new().atleast_version(version).probe(library) {
        println!("cargo::rustc-env=TURBOJPEG_VERSION={}", found.version);
    } else {
        println!("cargo::error={library} {version} or newer was not found by pkg-config.");
        println!("cargo::error=Debian and Ubuntu: sudo apt-get install pkg-config {package}");
        println!("cargo::error=or build in Rust alone, slower: cargo build --release --no-default-features");
    }
}

//! Finds the C libraries of the feature `native`; without it there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "native")]
    {
        link("libturbojpeg", "2.1", "libturbojpeg0-dev");
        let avif = link("libavif", "0.9", "libavif-dev");
        println!("cargo::rerun-if-changed=src/codec/avif.c");
        cc::Build::new()
            .file("src/codec/avif.c")
            .includes(avif)
            .warnings_into_errors(true)
            .compile("iipsrv_avif");
    }
}

/// Links the system's library, at least of this version, or says which package has it. Where its headers are.
#[cfg(feature = "native")]
fn link(library: &str, version: &str, package: &str) -> Vec<std::path::PathBuf> {
    let found = pkg_config::Config::new().atleast_version(version).probe(library);
    if found.is_err() {
        println!("cargo::error={library} {version} or newer was not found by pkg-config.");
        println!("cargo::error=Debian and Ubuntu: sudo apt-get install pkg-config {package}");
        println!("cargo::error=or build in Rust alone, slower: cargo build --release --no-default-features");
    }
    found.map(|found| found.include_paths).unwrap_or_default()
}

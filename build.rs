//! Finds the C libraries of the feature `native`; without it there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // whether AVIF can be written
    println!("cargo::rustc-check-cfg=cfg(avif)");
    #[cfg(feature = "native")]
    {
        link("libturbojpeg", "2.1", "libturbojpeg0-dev");
        println!("cargo::rerun-if-changed=src/codec/avif.c");
        match pkg_config::Config::new().atleast_version("0.9").probe("libavif") {
            Ok(found) => {
                println!("cargo::rustc-cfg=avif");
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

/// Links the system's library, at least of this version, or says which package has it.
#[cfg(feature = "native")]
fn link(library: &str, version: &str, package: &str) {
    if pkg_config::Config::new()
        .atleast_version(version)
        .probe(library)
        .is_err()
    {
        println!("cargo::error={library} {version} or newer was not found by pkg-config.");
        println!("cargo::error=Debian and Ubuntu: sudo apt-get install pkg-config {package}");
        println!("cargo::error=or build in Rust alone, slower: cargo build --release --no-default-features");
    }
}

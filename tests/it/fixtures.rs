//! The files of `fixtures/` equal the output of the generator, and are small.

use std::path::Path;
use std::path::PathBuf;

use crate::list;
use crate::scenes;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[test]
fn small_fixtures_equal_the_output_of_the_generator() {
    for fixture in list::all() {
        let (w, h) = fixture.spec.sizes[0];
        if w * h > 200_000 {
            continue; // slow, and drawn by the same code
        }
        if !cfg!(feature = "native") && fixture.name == "zstd.tif" {
            continue; // the encoder of the Rust-only build writes different bytes for the same pixels
        }
        let made = list::write(&fixture.spec, std::io::Cursor::new(vec![]), |_| {})
            .unwrap()
            .into_inner();
        let stored = std::fs::read(folder().join(fixture.name)).unwrap();
        assert!(made == stored, "fixtures/make would change {}", fixture.name);
    }
}

#[test]
fn the_list_and_the_folder_agree() {
    let mut listed: Vec<_> = list::all()
        .iter()
        .map(|fixture| fixture.name.to_string())
        .collect();
    let mut stored: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tif"))
        .collect();
    listed.sort();
    stored.sort();
    assert_eq!(listed, stored);
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for name in listed {
        assert!(
            readme.contains(&format!("| {name} |")),
            "README.md does not say why {name} is there"
        );
    }
}

#[test]
fn fixtures_total_under_3_mb_and_have_four_levels_each() {
    let total: u64 = list::all()
        .iter()
        .map(|f| folder().join(f.name).metadata().unwrap().len())
        .sum();
    assert!(total < 3_000_000, "{total} bytes");
    for fixture in list::all() {
        assert!(fixture.spec.sizes.len() >= 4, "{}", fixture.name);
    }
}

#[test]
fn demonstration_pictures_equal_the_output_of_the_generator() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let demo = folder().join("demo");
    let scenes = scenes::all();
    for scene in &scenes {
        let stored = std::fs::read(demo.join(scene.name)).unwrap();
        assert!(
            (scene.draw)().unwrap() == stored,
            "fixtures/make would change demo/{}",
            scene.name
        );
        assert!(stored.len() < 600_000, "{}", scene.name);
        assert!(readme.contains(&format!("| {} |", scene.name)), "{}", scene.name);
    }
    // and the chart
    assert!(demo.join("tessera.tif").exists());
    assert_eq!(std::fs::read_dir(demo).unwrap().count(), scenes.len() + 1);
}

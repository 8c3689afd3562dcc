//! The recipe that is shipped, built for real: this needs the index that pip is configured to use.
//!
//! The image stays in `casemate-images/images` beside the rest of cargo's output, where `cargo xtask image` puts it too.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{path::Path, process::Command};

use casemate_images::{Image, ImageStore, Recipe, build, build_missing};

fn recipe() -> Recipe {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Recipe::read(&root.join("../../images/python-data.toml")).unwrap()
}

/// The image that all tests, benchmarks and soaks share, built if it is missing.
fn shared() -> (ImageStore, Image) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let store = ImageStore::open(&target.join("casemate-images/images")).unwrap();
    let made = build_missing(&store, &recipe(), &mut |_| ()).unwrap();
    (store, made.image().clone())
}

fn python(image: &Image, code: &str) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(&image.manifest.python.path)
        .args(["-s", "-c", code])
        .current_dir(scratch.path())
        .env_clear()
        .envs(&image.manifest.env)
        .env("MPLCONFIGDIR", scratch.path())
        .env("PYTHONPATH", image.tree.join(&image.manifest.site))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What the recipe names is there, in the versions that it names, and works: numbers, tables, a chart.
#[test]
fn the_image_holds_what_its_recipe_names() {
    let (_, image) = shared();
    let packages = &image.manifest.packages;
    let names: Vec<_> = packages
        .iter()
        .map(|package| format!("{:?}", package.name))
        .collect();
    let versions = python(
        &image,
        &format!(
            "from importlib.metadata import version\nfor name in [{}]: print(version(name))",
            names.join(",")
        ),
    );
    let expected: Vec<_> = packages.iter().map(|package| &*package.version).collect();
    assert_eq!(versions.lines().collect::<Vec<_>>(), expected);

    let said = python(
        &image,
        r#"
import io
import numpy, pandas, scipy.optimize, sympy, IPython, PIL.Image
import matplotlib.pyplot as plot
print(numpy.linalg.inv(numpy.array([[2.0, 0.0], [0.0, 4.0]])).tolist())
print(pandas.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}).groupby("k").v.sum().to_dict())
print(round(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2), 6), sympy.integrate(sympy.Symbol("x")))
plot.plot([1, 2, 3])
png = io.BytesIO()
plot.savefig(png, format="png")
print(PIL.Image.open(png).format)
"#,
    );
    assert_eq!(
        said,
        "[[0.5, 0.0], [0.0, 0.25]]\n{'a': 4, 'b': 2}\n1.414214 x**2/2\nPNG\n"
    );
}

/// Every source that is imported has its compiled file already, and Python takes it: nobody can write one later.
#[test]
fn nothing_is_compiled_again() {
    let (_, image) = shared();
    let compiled = python(
        &image,
        r#"
def refuse(*words): raise AssertionError("compiled again")
import importlib._bootstrap_external as loader
loader.SourceLoader.source_to_code = refuse
import numpy, pandas, matplotlib.pyplot
print(numpy.__cached__ is not None)
"#,
    );
    assert_eq!(compiled, "True\n");
    for module in &image.manifest.preload {
        python(&image, &format!("import {module}"));
    }
}

/// R212: two builds of one recipe give one digest, and the image is what was built, to the last byte.
#[test]
fn the_recipe_makes_one_image() {
    let (store, image) = shared();
    assert_eq!(store.verify(&image.digest).unwrap(), []);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let elsewhere = ImageStore::open(dir.path()).unwrap();
    let again = build(&elsewhere, &recipe(), &mut |_| ()).unwrap();
    let manifest = |image: &Image| std::fs::read(image.tree.with_file_name("manifest.json"));
    assert_eq!(
        String::from_utf8(manifest(&again).unwrap()).unwrap(),
        String::from_utf8(manifest(&image).unwrap()).unwrap()
    );
    assert_eq!(again.digest, image.digest);
    elsewhere.remove("python-data").unwrap();
}

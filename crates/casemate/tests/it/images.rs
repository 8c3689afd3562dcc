//! `casemate image`, with wheels that these tests make: no network.

mod wheel;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) use self::wheel::Wheel;
use crate::home::{Home, Ran, for_everybody};

/// A user, a directory of wheels in place of an index, and a recipe.
pub(crate) struct Workshop<'a> {
    home: &'a Home,
    python: PathBuf,
    packages: String,
}

impl<'a> Workshop<'a> {
    pub(crate) fn new(home: &'a Home) -> Self {
        fs::create_dir(home.path("wheels")).unwrap();
        let packages = String::new();
        Self {
            home,
            python: "/usr/bin/python3".into(),
            packages,
        }
    }

    /// Offers a wheel without naming it in the recipe, and returns its digest.
    fn offer(&self, wheel: &Wheel) -> String {
        wheel.write(&self.home.path("wheels"))
    }

    /// Names a package in the recipe.
    fn lock(&mut self, name: &str, version: &str, digest: &str) {
        self.packages.push_str(&format!(
            "[[package]]\nname = {name:?}\nversion = {version:?}\nwheels = [{digest:?}]\n"
        ));
    }

    /// Offers a wheel and names it.
    fn add(&mut self, wheel: &Wheel) {
        let digest = self.offer(wheel);
        self.lock(wheel.name, "1.0", &digest);
    }

    fn recipe(&self) -> PathBuf {
        let python = self.python.to_str().unwrap();
        let head = format!("name = \"mine\"\npython = {python:?}\npython_version = \"3.11\"\n");
        self.home
            .write("recipe.toml", format!("{head}{}", self.packages))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.home.casemate(words);
        command
            .env("PIP_CONFIG_FILE", "/dev/null")
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.home.path("wheels"));
        command
    }

    /// Builds the image `mine` of one package with one module.
    pub(crate) fn build_of_one(&mut self) {
        self.add(&Wheel::of("one"));
        self.build().exits(0);
    }

    fn build(&self) -> Ran {
        let recipe = self.recipe();
        let recipe = recipe.to_str().unwrap();
        Ran(self.command(&["image", "build", recipe]).output().unwrap())
    }

    /// The build has to fail so, and nothing may be left of it.
    #[track_caller]
    fn fails(&self, code: i32, says: &str) {
        self.build().exits(code).prints("").says(says);
        assert_eq!(self.store(), ["names"]);
        assert!(self.inside("names").is_empty());
        self.home.run(["image", "list"]).exits(0).prints("");
    }

    /// What is in the store.
    fn store(&self) -> Vec<String> {
        self.inside("")
    }

    fn inside(&self, directory: &str) -> Vec<String> {
        let path = self.home.path("state/images").join(directory);
        let names = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with(".turn-"))
            .collect();
        names.sort();
        names
    }
}

fn digest_of(ran: &Ran) -> String {
    let stdout = ran.stdout();
    let word = stdout.split(['\n', ' ', ':']).find(|word| word.len() == 64);
    format!("sha256:{}", word.unwrap())
}

/// From a recipe to an image and back, as root and as anybody. Two stores get one digest.
#[test]
fn an_image_is_built_listed_verified_and_removed() {
    let digests = RefCell::new(BTreeSet::new());
    for_everybody(|home| {
        let mut workshop = Workshop::new(home);
        workshop.add(&Wheel::of("one").needs("two>=1"));
        workshop.add(&Wheel::of("two").script("tool"));
        home.give("wheels");
        let built = workshop.build();
        let digest = digest_of(built.exits(0));
        built
            .says("fetching 2 packages")
            .prints(&format!("mine {digest}: built\n"));
        workshop
            .build()
            .exits(0)
            .prints(&format!("mine {digest}: there already\n"));

        let list = home.run(["image", "list"]);
        let line = format!("mine {digest}: Python 3.11, 2 packages, 1 MiB\n");
        list.exits(0).prints(&line);
        let listed = home.run(["image", "list", "--json"]).json();
        assert_eq!(listed["image"], *digest);
        assert_eq!(listed["named_by"][0], "mine");
        assert_eq!(listed["manifest"]["packages"][0]["name"], "one");
        let tree = PathBuf::from(listed["tree"].as_str().unwrap());
        let site = tree.join("site-packages");
        assert!(site.join("one/__init__.py").exists());
        assert!(
            site.join("one/__pycache__/__init__.cpython-311.pyc")
                .exists()
        );
        assert!(site.join("two-1.0.dist-info/METADATA").exists());
        for missing in [
            "two-1.0.dist-info/RECORD",
            "two-1.0.dist-info/INSTALLER",
            "bin",
        ] {
            assert!(!site.join(missing).exists(), "{missing}");
        }

        home.run(["image", "verify"])
            .exits(0)
            .prints(&format!("{digest}: genuine\n"));
        add_to(&site, "one/evil.py");
        let verified = home.run(["image", "verify", "mine", "--json"]);
        let verified = verified.exits(1).json();
        assert_eq!(verified["genuine"], false);
        // The directory was opened up for it, which is found as well.
        let expected = serde_json::json!([
            {"path": "tree/site-packages/one", "difference": "mode"},
            {"path": "tree/site-packages/one/evil.py", "difference": "added"},
        ]);
        assert_eq!(verified["findings"], expected);
        home.run(["image", "verify", "mine"]).exits(1);

        // What not even its owner can read is found, too.
        for (path, mode) in [("one/__init__.py", 0), ("two", 0o333)] {
            fs::set_permissions(site.join(path), fs::Permissions::from_mode(mode)).unwrap();
            let verified = home.run(["image", "verify"]).exits(1).stdout();
            assert!(
                verified.contains(&format!("  tree/site-packages/{path}: ")),
                "{verified}"
            );
        }

        let start: String = digest.chars().take("sha256:".len() + 8).collect();
        home.run(["image", "rm", &start])
            .exits(0)
            .prints(&format!("removed {digest}\n"));
        digests.borrow_mut().insert(digest);
        assert_eq!(workshop.store(), ["names"]);
        home.run(["image", "rm", "mine"])
            .exits(1)
            .says("there is no image `mine`");
    });
    assert_eq!(digests.into_inner().len(), 1);
}

fn add_to(site: &Path, name: &str) {
    let status = Command::new("chmod")
        .args(["u+w", site.join(name).parent().unwrap().to_str().unwrap()])
        .status();
    assert!(status.unwrap().success());
    fs::write(site.join(name), "").unwrap();
}

/// R212: what the recipe does not name, to the last bit, is not installed, and nothing is left of the attempt.
#[test]
fn a_wheel_that_the_recipe_does_not_name_is_refused() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.offer(&Wheel::of("one").file("one/evil.py", ""));
    let other = Wheel::of("one").write(home.path("").as_path());
    workshop.lock("one", "1.0", &other);
    workshop.fails(1, "the file was tampered with");
}

/// R212: nothing comes along that the recipe does not have, and no other version of what it has.
#[test]
fn what_others_need_has_to_be_locked_too() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.add(&Wheel::of("one").needs("two>=1"));
    workshop.offer(&Wheel::of("two"));
    workshop.fails(1, "lacks a package that others need");

    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.add(&Wheel::of("one").needs("two>=2"));
    workshop.add(&Wheel::of("two"));
    workshop.fails(1, "or has another version of it");
}

/// R212: a source distribution would run its author's code here.
#[test]
fn source_distributions_are_not_built() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    let setup = format!("open({:?}, 'w')", home.path("ran").to_str().unwrap());
    let digest = wheel::source_distribution("one", &setup, &home.path("wheels"));
    workshop.lock("one", "1.0", &digest);
    workshop.fails(1, "has no wheel for this interpreter and machine");
    assert!(!home.path("ran").exists());
}

#[test]
fn a_wheel_for_another_machine_or_interpreter_does_not_fit() {
    for tag in ["cp312-cp312-any", "cp311-cp311-win_amd64", "cp27-none-any"] {
        let home = Home::new();
        let mut workshop = Workshop::new(&home);
        workshop.add(&Wheel::of("one").tagged(tag));
        workshop.fails(1, "has no wheel for this interpreter and machine");
    }
}

#[test]
fn an_index_that_does_not_answer_is_said_to_be_so() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.lock("one", "1.0", &format!("sha256:{}", "0".repeat(64)));
    let recipe = workshop.recipe();
    let ran = workshop
        .command(&["image", "build", recipe.to_str().unwrap()])
        .env_remove("PIP_NO_INDEX")
        // A port that nothing listens on.
        .env("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
        .env("PIP_RETRIES", "1")
        .output();
    Ran(ran.unwrap()).exits(123).says("cannot be reached");
    assert_eq!(workshop.store(), ["names"]);
}

/// R212: what a package would do when it is imported it does not do here, whatever it is called.
#[test]
fn no_code_of_a_package_runs_in_a_build() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    let evil = format!("open({:?}, 'w')\n", home.path("ran").to_str().unwrap());
    let mut wheel = Wheel::of("one").file("evil.pth", &format!("import os; {evil}"));
    for module in [
        "sitecustomize",
        "usercustomize",
        "os",
        "py_compile",
        "encodings/__init__",
        "pip/__main__",
    ] {
        wheel = wheel.file(&format!("{module}.py"), &evil);
    }
    // Nor is what is no Python at all an error: such files are data.
    workshop.add(&wheel.file("one/template.py", "{{ template }} \0"));
    workshop.build().exits(0);
    assert!(!home.path("ran").exists());
    home.run(["image", "verify"]).exits(0);
}

/// R212: a wheel's names stay in the image, and its links are nothing but text.
#[test]
fn a_wheel_cannot_write_beside_the_image() {
    for path in [
        "../evil.py",
        "../../../../../evil.py",
        "one-1.0.data/data/../../../evil.py",
    ] {
        let home = Home::new();
        let mut workshop = Workshop::new(&home);
        workshop.add(&Wheel::of("one").file(path, ""));
        workshop.fails(123, "pip failed");
        let found = Command::new("find")
            .arg(home.path(""))
            .args(["-name", "evil.py"])
            .output();
        assert!(found.unwrap().stdout.is_empty());
    }
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    let passwd = home.write("passwd", "secret");
    let link = 0o120_777;
    workshop.add(&Wheel::of("one").entry("one/link", passwd.to_str().unwrap(), link));
    workshop.build().exits(0);
    let tree = home.run(["image", "list", "--json"]).json();
    let link = Path::new(tree["tree"].as_str().unwrap()).join("site-packages/one/link");
    assert!(fs::symlink_metadata(link).unwrap().is_file());
}

/// What is killed in the middle leaves no image, and nothing that the next build does not remove.
#[test]
fn a_killed_build_leaves_nothing_that_counts() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.add(&Wheel::of("one"));
    let recipe = workshop.recipe();
    let mut killed = 0;
    for after_ms in [100, 400, 700, 1_000, 1_300, 1_600] {
        let mut child = workshop
            .command(&["image", "build", recipe.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(after_ms));
        if child.try_wait().unwrap().is_none() {
            killed += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in home.run(["image", "verify"]).exits(0).stdout().lines() {
            assert!(line.ends_with(": genuine"), "{line}");
        }
    }
    assert!(killed > 0);
    // The program that a killed build had started may still run.
    let start = Instant::now();
    loop {
        if !workshop.inside("names").is_empty() {
            home.run(["image", "rm", "mine"]).exits(0);
        }
        workshop.build().exits(0);
        if workshop.store().len() == 2 {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?}",
            workshop.store()
        );
    }
    home.run(["image", "verify", "mine"]).exits(0);
}

#[test]
fn builds_at_once_make_one_image() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.add(&Wheel::of("one"));
    let recipe = workshop.recipe();
    let children: Vec<_> = (0..3)
        .map(|_| {
            let mut build = workshop.command(&["image", "build", recipe.to_str().unwrap()]);
            build
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended: Vec<_> = children
        .into_iter()
        .map(|child| Ran(child.wait_with_output().unwrap()))
        .collect();
    for ran in &ended {
        ran.exits(0);
    }
    let built = ended
        .iter()
        .filter(|ran| ran.stdout().ends_with(": built\n"));
    assert_eq!(built.count(), 1, "{ended:?}");
    assert_eq!(workshop.store().len(), 2);
    home.run(["image", "verify"]).exits(0);
}

#[test]
fn what_cannot_be_built_is_explained_before_anything_is_fetched() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.add(&Wheel::of("one"));
    let recipe = fs::read_to_string(workshop.recipe()).unwrap();
    for (from, to, code, says) in [
        ("[[package]]", "[package]", 1, "not of the right form"),
        ("\"3.11\"", "\"3\"", 1, "\"3.11\""),
        ("\"3.11\"", "\"3.99\"", 1, "the recipe is for CPython 3.99"),
        (
            "/usr/bin/python3",
            "/nonexistent",
            123,
            "cannot run the interpreter",
        ),
        (
            "/usr/bin/python3",
            "/bin/echo",
            123,
            "cannot run the interpreter",
        ),
        ("\"mine\"", "\"../mine\"", 1, "not the name of an image"),
    ] {
        let recipe = home.write("bad.toml", recipe.replace(from, to));
        let ran = workshop
            .command(&["image", "build", recipe.to_str().unwrap()])
            .output();
        Ran(ran.unwrap()).exits(code).prints("").says(says);
    }
    home.run(["image", "build", "missing.toml"])
        .exits(2)
        .says("cannot read the recipe");
    home.run(["image", "build", "."])
        .exits(2)
        .says("cannot read the recipe");
    home.run(["image", "list"]).exits(0).prints("");
}

#[test]
fn looking_at_images_makes_nothing() {
    let home = Home::new();
    home.run(["image", "list"]).exits(0).prints("");
    home.run(["image", "verify"]).exits(0).prints("");
    home.run(["image", "verify", "mine"])
        .exits(1)
        .says("there is no image `mine`");
    home.run(["image", "rm", "mine"])
        .exits(1)
        .says("casemate image build FILE");
    assert!(home.is_untouched());
}

/// An interpreter without pip is served by the pip of another one, if there is one.
#[test]
fn an_interpreter_needs_no_pip_of_its_own() {
    let home = Home::new();
    let bare = home.path("bare");
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip", bare.to_str().unwrap()])
        .status();
    assert!(made.unwrap().success());
    let mut workshop = Workshop::new(&home);
    workshop.python = bare.join("bin/python3");
    workshop.add(&Wheel::of("one"));
    let recipe = workshop.recipe();
    let words = ["image", "build", recipe.to_str().unwrap()];
    let nowhere = workshop
        .command(&words)
        .env("PATH", home.path("empty"))
        .output();
    Ran(nowhere.unwrap())
        .exits(123)
        .says("apt install python3-pip");
    assert_eq!(workshop.store(), ["names"]);
    workshop.build().exits(0);
    home.run(["image", "verify"]).exits(0);
}

/// Where packages come from is pip's configuration; where they go is not, and nothing is left at home.
#[test]
fn the_users_configuration_of_pip_is_honoured() {
    let home = Home::new();
    let mut workshop = Workshop::new(&home);
    workshop.add(&Wheel::of("one"));
    fs::create_dir_all(home.path("h/.config/pip")).unwrap();
    let wheels = home.path("wheels");
    let elsewhere = home.path("h/elsewhere");
    let configuration = format!(
        "[global]\nno-index = true\nfind-links = {}\nrequire-virtualenv = true\n\
         [install]\nuser = true\ntarget = {}\n[download]\ndest = {}\n",
        wheels.display(),
        elsewhere.display(),
        elsewhere.display()
    );
    home.write("h/.config/pip/pip.conf", configuration);
    let recipe = workshop.recipe();
    let mut build = home.casemate(["image", "build", recipe.to_str().unwrap()]);
    build
        .env("HOME", home.path("h"))
        .env("PIP_TARGET", &elsewhere)
        .env("PIP_PREFIX", &elsewhere)
        .env("PYTHONPATH", &wheels);
    Ran(build.output().unwrap()).exits(0);
    home.run(["image", "verify"]).exits(0);
    let found = Command::new("find").arg(home.path("h")).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.lines().count(), 4, "{found}");
}

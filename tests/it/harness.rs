//! Runs the real program on a project in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a project, removed afterwards.
pub struct Sandbox {
    dir: tempfile::TempDir,
    /// More of the environment, for every command.
    pub env: Vec<(&'static str, String)>,
}

impl Sandbox {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder"), env: Vec::new() }
    }

    /// A copy of a folder.
    pub fn copy_of(source: &Path) -> Self {
        let sandbox = Self::empty();
        copy_tree(source, sandbox.path());
        sandbox
    }

    /// A copy of the shipped project: configuration, exports, schemas and demo data.
    pub fn shipped() -> Self {
        let sandbox = Self::empty();
        let root = root();
        std::fs::copy(root.join("phase6_publishing.yaml"), sandbox.path().join("phase6_publishing.yaml")).unwrap();
        for folder in ["exports", "schemas", "demo/warehouse"] {
            copy_tree(&root.join(folder), &sandbox.path().join(folder));
        }
        sandbox
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        let full = self.path().join(path);
        std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
    }

    pub fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path().join(path).exists()
    }

    /// Runs `phase6 ARGS` here; words are separated by blanks, single quotes keep blanks.
    pub fn run(&self, args: &str) -> Ran {
        Ran::of(self.command(args).output().expect("the program starts"))
    }

    /// Runs `phase6 ARGS` here with more variables in its environment.
    #[cfg(feature = "gcp")]
    pub fn run_with(&self, args: &str, variables: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(args).envs(variables.iter().copied()).output().expect("the program starts"))
    }

    /// The command, to be started otherwise.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phase6"));
        command.args(words(args)).current_dir(self.path()).env_clear();
        for name in ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// What a program said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the program ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The project's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The large sample, where it lies beside the project; tests that want it say that they were skipped otherwise.
pub fn sample() -> Option<PathBuf> {
    let path = root().join("../shared/data");
    if path.is_dir() {
        return Some(path);
    }
    phase6_test_servers::emulators::skip("large sample", &format!("it is not at {}", path.display()));
    None
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut any) = (false, false);
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

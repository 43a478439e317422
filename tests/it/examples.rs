//! What is written down for others to copy: each `phase6 …` in the CI examples, the Dockerfile and the documentation is a
//! command of this program with options that it has.

use crate::harness::{Sandbox, root};
use std::path::{Path, PathBuf};

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The commands of shell text: `phase6 …` and `bin/phase6 …` at the beginning of a line or after `;`, `|`, `{`, `&&`, up to
/// what belongs to the shell again.
fn of_shell(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("- ").trim_start_matches("run: ");
        for part in outside_quotes(line, &["|", ";", "{ ", "&&", " #", " >", " 2>", " <", " &"]) {
            let part = part.trim();
            let args = part.strip_prefix("phase6 ").or_else(|| part.strip_prefix("bin/phase6 "));
            found.extend(args.map(str::to_owned));
        }
    }
    found
}

/// The parts of a line between these separators, where those do not stand in quotes.
fn outside_quotes<'l>(line: &'l str, separators: &[&str]) -> Vec<&'l str> {
    let (mut parts, mut begin, mut quote, mut skip) = (Vec::new(), 0, None, 0);
    for (at, c) in line.char_indices() {
        match quote {
            _ if at < skip => {}
            Some(open) => quote = (c != open).then_some(open),
            None if c == '\'' || c == '"' => quote = Some(c),
            None => {
                if let Some(separator) = separators.iter().find(|s| line[at..].starts_with(**s)) {
                    parts.push(&line[begin..at]);
                    (begin, skip) = (at + separator.len(), at + separator.len());
                }
            }
        }
    }
    parts.push(&line[begin..]);
    parts
}

/// The fenced blocks of shell in a page.
fn of_page(page: &str) -> Vec<String> {
    page.split("```sh\n").skip(1).flat_map(|rest| of_shell(rest.split("```").next().unwrap_or_default())).collect()
}

/// The steps of a Cloud Build file that run phase6's image, and the exec forms of a Dockerfile.
fn of_lists(text: &str, before: &[&str]) -> Vec<String> {
    let list = |line: &str| {
        let rest = before.iter().find_map(|b| Some(&line[line.find(b)? + b.len()..]))?;
        let words = rest.trim_end().trim_end_matches(']').split(',').map(|w| w.trim().trim_matches('"'));
        Some(words.filter(|w| *w != "phase6").collect::<Vec<_>>().join(" "))
    };
    text.lines().filter_map(list).filter(|args| !args.is_empty()).collect()
}

/// Options that are wrong are refused before `--help` is answered.
#[track_caller]
fn understood(sandbox: &Sandbox, place: &str, commands: &[String]) {
    assert!(!commands.is_empty(), "{place}: no command was found");
    for command in commands {
        // The harness knows single quotes alone.
        let command = if command.contains('\'') { command.clone() } else { command.replace('"', "'") };
        let ran = sandbox.run(&format!("{command} --help"));
        assert_eq!(ran.code, 0, "{place}: phase6 {command}\n{}", ran.stderr);
    }
}

#[test]
fn a_wrong_option_would_be_found() {
    assert_eq!(of_shell("x=1; { phase6 check --no-such-thing; } > out"), ["check --no-such-thing"]);
    assert_eq!(of_shell("phase6 publish t --message '{\"a\": 1}' &"), ["publish t --message '{\"a\": 1}'"]);
    let ran = Sandbox::empty().run("check --no-such-thing --help");
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[test]
fn the_ci_examples_run() {
    let sandbox = Sandbox::shipped();
    let github = of_shell(&text("examples/ci/github-actions.yml"));
    let cloudbuild = of_lists(&text("examples/ci/cloudbuild.yaml"), &["args: ["]);
    understood(&sandbox, "github-actions.yml", &github);
    understood(&sandbox, "cloudbuild.yaml", &cloudbuild);
    // The checking account has BigQuery and nothing else (docs/security.md).
    for command in github.iter().chain(&cloudbuild).filter(|c| c.contains("--target gcp")) {
        assert!(command.starts_with("check ") || command.starts_with("plan "), "{command}: it asks more than BigQuery");
    }
    let local: Vec<&String> = github.iter().chain(&cloudbuild).filter(|c| !c.contains("--target gcp")).collect();
    assert!(local.len() >= 5, "{local:?}");
    for command in local {
        sandbox.run(command).expect(0);
    }
    // A slip of an author fails the check, with an annotation at its line.
    let export = sandbox.read("exports/results.yaml");
    sandbox.write("exports/results.yaml", &export.replacen("$each:", "$eech:", 1));
    let check = github.iter().find(|c| c.starts_with("check --format github")).expect("the annotating step");
    let ran = sandbox.run(check).expect(1);
    assert!(ran.stdout.contains("::error file=exports/results.yaml,line="), "{}", ran.stdout);
}

#[test]
fn documented_commands_exist() {
    let sandbox = Sandbox::shipped();
    understood(&sandbox, "README.md", &of_page(&text("README.md")));
    let mut pages: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() >= 2, "{pages:?}");
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let commands = of_page(&text(page));
        if !commands.is_empty() {
            understood(&sandbox, &page.display().to_string(), &commands);
        }
    }
}

#[test]
fn the_dockerfile_agrees_with_the_project() {
    let dockerfile = text("Dockerfile");
    let commands = of_lists(&dockerfile, &["CMD ["]);
    understood(&Sandbox::empty(), "Dockerfile", &commands);
    assert!(
        commands.contains(&"health".to_owned()) && commands.iter().any(|c| c.starts_with("serve ")),
        "{commands:?}"
    );
    // The image compiles with the version that everybody else has.
    let channel = text("rust-toolchain.toml");
    let version = channel.lines().find_map(|l| l.strip_prefix("channel = \"")).unwrap().trim_end_matches('"');
    assert!(dockerfile.contains(&format!("rust:{version}-slim")), "Dockerfile: RUST_IMAGE is not {version}");
    assert!(dockerfile.lines().any(|l| l.starts_with("USER ") && l != "USER root" && !l.starts_with("USER 0")));
    for line in dockerfile.lines().filter(|l| l.starts_with("COPY ") && !l.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "{line}");
            let sent = text(".dockerignore")
                .lines()
                .any(|l| l.strip_prefix('!').is_some_and(|sent| source.starts_with(sent) || *source == "."));
            assert!(sent, ".dockerignore leaves out {source}");
        }
    }
}

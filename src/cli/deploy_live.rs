//! `phase6 deploy` without `--emit`: reads what is there, shows the difference, asks, and carries it out.

use super::args::{DeployArgs, Format, Global};
use super::cloud;
use super::context::{self, fail};
use super::exit::Exit;
use crate::deploy::apply::{Applied, apply};
use crate::deploy::compare::{Action, Leave, Step, others, steps};
use crate::deploy::read::read;
use crate::deploy::resources::resources;
use crate::deploy::{Part, Plan, show};
use crate::ports::cloud::{Api, Cloud, CloudError, CloudErrorKind};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

pub fn run(global: &Global, args: &DeployArgs, plan: &Plan) -> Result<Exit, Exit> {
    let parts: BTreeSet<Part> =
        if args.only.is_empty() { Part::ALL.into() } else { args.only.iter().copied().collect() };
    let apis: BTreeSet<Api> = parts.iter().flat_map(|part| part.apis()).copied().collect();
    let cloud = cloud::rest(&apis.into_iter().collect::<Vec<_>>())?;
    let runtime = context::runtime()?;
    runtime.block_on(deploy(global, args, plan, &parts, &cloud))
}

async fn deploy(
    global: &Global,
    args: &DeployArgs,
    plan: &Plan,
    parts: &BTreeSet<Part>,
    cloud: &Arc<dyn Cloud>,
) -> Result<Exit, Exit> {
    let there = read(cloud, plan, parts).await.map_err(failed)?;
    let resources = resources(plan);
    let steps = steps(plan, &resources, &there, Leave { adopt: args.adopt, prune: args.prune }, parts);
    let others = others(plan, &resources, &there);
    let machine = matches!(global.format, Format::Json | Format::Jsonl);
    if !machine {
        print!("{}", show::text(plan, &steps, &others));
    }
    let work = steps.iter().any(Step::is_work);
    if args.dry_run || !work {
        if machine {
            print_json(global, &show::json(plan, &steps, &others));
        }
        return Ok(if args.dry_run { Exit::Ok } else { unblocked(&steps) });
    }
    confirmed(args)?;
    let mut told = |line: &str| {
        if !machine && !global.quiet {
            println!("{line}");
        }
    };
    let applied = apply(cloud, plan, &steps, &mut told).await;
    if machine {
        let mut all = show::json(plan, &steps, &others);
        all["applied"] = json!(applied);
        print_json(global, &all);
    }
    Ok(ended(&applied, &steps))
}

fn print_json(global: &Global, value: &serde_json::Value) {
    match global.format {
        Format::Jsonl => println!("{value}"),
        _ => println!("{value:#}"),
    }
}

/// What is blocked was not done, though nothing failed.
fn unblocked(steps: &[Step]) -> Exit {
    if steps.iter().any(|s| s.action == Action::Blocked) { Exit::Partial } else { Exit::Ok }
}

/// Says what failed and what was not tried.
fn ended(applied: &Applied, steps: &[Step]) -> Exit {
    if applied.failed.is_empty() {
        return unblocked(steps);
    }
    for failed in &applied.failed {
        eprintln!("phase6: failed: {}: {}", failed.step, failed.reason);
    }
    for step in &applied.not_done {
        eprintln!("phase6: not done: {step}");
    }
    eprintln!("phase6: {} done; what is left is done by the same command again", applied.done.len());
    match applied.done.is_empty() {
        false => Exit::Partial,
        true if applied.failed.iter().all(|f| f.kind == Some(CloudErrorKind::Transient)) => Exit::Unavailable,
        true => Exit::Failed,
    }
}

/// Asks on a terminal; a script says `--yes`.
fn confirmed(args: &DeployArgs) -> Result<(), Exit> {
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(fail(Exit::Usage, "nobody is there to be asked: look with --dry-run, then say --yes"));
    }
    print!("Do this? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(fail(Exit::Nothing, "nothing was done")),
    }
}

fn failed(error: CloudError) -> Exit {
    let exit = match error.kind {
        CloudErrorKind::Transient => Exit::Unavailable,
        CloudErrorKind::NoCredentials => Exit::Usage,
        _ => Exit::Failed,
    };
    fail(exit, error)
}

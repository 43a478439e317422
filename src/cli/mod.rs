//! The command line: one file a command.

pub mod args;
pub mod backfill;
pub mod check;
mod check_target;
mod cloud;
pub mod context;
mod dead_letter;
mod deploy;
mod deploy_live;
pub mod doctor;
mod door;
pub mod exit;
mod explain;
pub mod fresh;
mod gate;
mod health;
pub mod history;
pub mod list;
pub mod monitoring;
pub mod output;
mod plan;
pub mod preview;
pub mod progress;
pub mod publish;
pub mod pull;
pub mod query;
pub mod rehearse;
pub mod render;
pub mod report;
pub mod rollback;
pub mod run;
mod runs;
mod schedule;
mod serve;
pub mod test;

use args::{Cli, Command, Format};
use clap::{CommandFactory, Parser};
use exit::Exit;
use std::process::ExitCode;

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    leave_quietly_when_nobody_reads();
    let cli = Cli::parse();
    dispatch(&cli).into()
}

/// `phase6 list | head -1` closes our output early: that is no error of ours.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload().downcast_ref::<String>();
        if message.is_some_and(|m| m.starts_with("failed printing to stdout") && m.contains("Broken pipe")) {
            std::process::exit(0);
        }
        usual(info);
    }));
}

fn dispatch(cli: &Cli) -> Exit {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Backfill(args) => backfill::run(global, args),
        Command::History(args) => history::run(global, args),
        Command::Rollback(args) => rollback::run(global, args),
        Command::Serve(args) => serve::run(global, args),
        Command::Runs(args) => runs::run(global, args),
        Command::DeadLetter(args) => dead_letter::run(global, args),
        Command::Gate(args) => gate::run(global, args),
        Command::Explain(args) => explain::run(global, args),
        Command::Schedule(command) => schedule::run(global, command),
        Command::Publish(args) => publish::run(global, args),
        Command::Pull(args) => pull::run(global, args),
        Command::Check(args) => check::run(global, args),
        Command::Test(args) => test::run(global, args),
        Command::Render(args) => render::run(global, args),
        Command::Plan(args) => plan::run(global, args),
        Command::Preview(args) => preview::run(global, args),
        Command::Query(args) => query::run(global, args),
        Command::Fresh => fresh::run(global),
        Command::List => list_exports(global),
        Command::Health(args) => health::run(global, args),
        Command::Deploy(args) => deploy::run(global, args),
        Command::Doctor => doctor::run(global),
        Command::Schema(args) => schema(global, args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "phase6", &mut std::io::stdout());
            Exit::Ok
        }
    }
}

fn list_exports(global: &args::Global) -> Exit {
    match context::load_checked(global) {
        Ok(loaded) => {
            print!("{}", list::report(&loaded.project, global.format));
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// `phase6 schema`: prints or writes the generated files.
fn schema(global: &args::Global, args: &args::SchemaArgs) -> Exit {
    let root = match context::root(global) {
        Ok(root) => root,
        Err(exit) => return exit,
    };
    let loaded = crate::config::load(&root, &|name| std::env::var(name).ok());
    if args.write {
        return match crate::config::generated::write(&loaded.project) {
            Ok(written) => {
                for path in written.iter().filter(|_| !global.quiet) {
                    println!("wrote {path}");
                }
                Exit::Ok
            }
            Err(error) => context::fail(Exit::Unavailable, format!("the generated files cannot be written: {error}")),
        };
    }
    let which = args.which.as_deref().unwrap_or("export");
    let files = crate::config::generated::files(&loaded.project);
    let wanted = |path: &str| path == which || path == format!("schemas/phase6/{which}.schema.json");
    match files.iter().find(|(path, _)| wanted(path)) {
        Some((_, text)) => {
            print!("{text}");
            Exit::Ok
        }
        None => {
            let known: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
            context::fail(
                Exit::Usage,
                format!("there is no generated schema `{which}`: export, publishing, or one of {}", known.join(", ")),
            )
        }
    }
}

/// Whether output may be coloured.
pub fn colored(global: &args::Global, terminal: bool) -> bool {
    match global.color {
        args::Color::Always => true,
        args::Color::Never => false,
        args::Color::Auto => terminal && global.format == Format::Human && std::env::var_os("NO_COLOR").is_none(),
    }
}

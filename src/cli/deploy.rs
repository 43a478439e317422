//! `phase6 deploy`: what the project needs on Google Cloud, compared with what is there; made, or written as files that make it.

use super::args::{DeployArgs, Emit, Global};
use super::context::{self, fail};
use super::exit::Exit;
use crate::config::Target;
use crate::deploy::{self, Options, Plan};

pub fn run(global: &Global, args: &DeployArgs) -> Exit {
    match deploy(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn deploy(global: &Global, args: &DeployArgs) -> Result<Exit, Exit> {
    let plan = plan(global, args)?;
    match args.emit {
        Some(emit) => emitted(global, args, emit, &plan).map(|()| Exit::Ok),
        None => super::deploy_live::run(global, args, &plan),
    }
}

fn plan(global: &Global, args: &DeployArgs) -> Result<Plan, Exit> {
    let loaded = context::load_checked(global)?;
    if loaded.has_errors() {
        return Err(fail(Exit::Usage, "the project has errors: `phase6 check` shows them"));
    }
    let project = &loaded.project;
    let target = match &global.target {
        Some(_) => context::target(project, global)?,
        // Nobody deploys a laptop: without a name it is the first target that has something in the cloud.
        None => match project.targets.iter().find(|t: &&Target| deploy::plan::cloud_project(t).is_some()) {
            Some(target) => target,
            None => context::target(project, global)?,
        },
    };
    let options = Options {
        image: args.image.clone(),
        region: args.region.clone(),
        name: args.name.clone(),
        notify: args.notify.clone(),
    };
    deploy::plan(project, target, &options).map_err(|wrong| {
        wrong.iter().for_each(|reason| eprintln!("phase6: {reason}"));
        Exit::Usage
    })
}

fn emitted(global: &Global, args: &DeployArgs, emit: Emit, plan: &Plan) -> Result<(), Exit> {
    let (name, text) = match emit {
        Emit::Gcloud => ("deploy.sh", deploy::gcloud::script(plan)),
        Emit::Terraform => ("main.tf", deploy::terraform::file(plan)),
    };
    let Some(dir) = &args.to else {
        print!("{text}");
        return Ok(());
    };
    let path = dir.join(name);
    let failed = |e| fail(Exit::Unavailable, format!("{} cannot be written: {e}", path.display()));
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text)).map_err(failed)?;
    if !global.quiet {
        println!("wrote {}", path.display());
    }
    Ok(())
}

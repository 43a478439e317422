//! The status page: what happened, what is fresh, what comes next. Server-rendered and readable without JavaScript; a small
//! script swaps the content every few seconds where there is one. Everything is embedded, nothing is loaded from elsewhere.
//!
//! Read-only. Records go into the templates as they are; minijinja escapes every value.

mod export;
mod filters;
mod overview;
mod records;

use super::Door;
use super::problem::Problem;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, Value, context};
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.add_global("css", STYLE);
    env.add_global("js", SCRIPT);
    for (name, text) in [
        ("base.html", include_str!("base.html")),
        ("parts.html", include_str!("parts.html")),
        ("overview.html", include_str!("overview.html")),
        ("runs.html", include_str!("runs.html")),
        ("run.html", include_str!("run.html")),
        ("gates.html", include_str!("gates.html")),
        ("gate.html", include_str!("gate.html")),
        ("letters.html", include_str!("letters.html")),
        ("letter.html", include_str!("letter.html")),
        ("export.html", include_str!("export.html")),
        ("document.html", include_str!("document.html")),
        ("failure.html", include_str!("failure.html")),
    ] {
        env.add_template(name, text).expect("an embedded template is well-formed: a test renders each");
    }
    filters::add(&mut env);
    env
});

/// Only the page's own style and script run, told by their hashes; nothing is loaded, framed or sent elsewhere.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&policy).expect("base64 is plain ASCII")
});

/// A page's data, or why there is none.
type Page = Result<Value, Problem>;

pub fn router() -> Router<Arc<Door>> {
    Router::new()
        .route("/", get(async |State(door): State<Arc<Door>>| door.page("overview.html", overview::page(&door).await)))
        .route("/runs", get(async |State(door): State<Arc<Door>>| door.page("runs.html", records::runs(&door).await)))
        .route(
            "/gates",
            get(async |State(door): State<Arc<Door>>| door.page("gates.html", records::gates(&door).await)),
        )
        .route(
            "/dead-letters",
            get(async |State(door): State<Arc<Door>>| door.page("letters.html", records::letters(&door).await)),
        )
        .route("/runs/{id}", get(run))
        .route("/gates/{id}", get(gate))
        .route("/dead-letters/{id}", get(letter))
        .route("/exports/{name}", get(export))
        .route("/documents/{*path}", get(document))
}

async fn run(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Response {
    door.page("run.html", records::run(&door, &id).await)
}

async fn gate(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Response {
    door.page("gate.html", records::gate(&door, &id).await)
}

async fn letter(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Response {
    door.page("letter.html", records::letter(&door, &id).await)
}

async fn export(State(door): State<Arc<Door>>, Path(name): Path<String>) -> Response {
    door.page("export.html", export::page(&door, &name).await)
}

async fn document(State(door): State<Arc<Door>>, Path(path): Path<String>) -> Response {
    door.page("document.html", export::document(&door, &path).await)
}

/// The entry of the navigation that a template belongs to.
fn section(template: &str) -> &'static str {
    match template {
        "runs.html" | "run.html" => "Runs",
        "gates.html" | "gate.html" => "Gates",
        "letters.html" | "letter.html" => "Dead letters",
        "overview.html" => "Overview",
        _ => "",
    }
}

impl Door {
    fn page(&self, template: &str, page: Page) -> Response {
        let (status, template, data) = match page {
            Ok(data) => (StatusCode::OK, template, data),
            Err(problem) => {
                let title = problem.status.canonical_reason().unwrap_or("Error");
                (problem.status, "failure.html", context! { title, detail => problem.detail })
            }
        };
        let now = self.clock.now();
        let mut env = TEMPLATES.clone();
        filters::add_times(&mut env, now, &(self.project)().calendar.timezone);
        let frame = context! { now => now.to_string(), target => &self.target, section => section(template) };
        let text = env.get_template(template).and_then(|t| t.render(context! { ..data, ..frame }));
        let mut response = match text {
            Ok(text) => (status, Html(text)).into_response(),
            // A page that a record breaks is our defect; the others still answer.
            Err(error) => {
                let detail = format!("the page cannot be shown: {error:#}");
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

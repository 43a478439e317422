//! What is sent to BigQuery: a job's name, labels, configuration and parameters, as its REST reference has them
//! (`jobs.insert`, resource `Job`).

use crate::model::{Param, Purpose, Statement, Type, Value};
use serde_json::{Value as Json, json};

/// A job is stopped by BigQuery itself after this time when the statement says nothing: nobody waits longer.
const DEFAULT_TIME_LIMIT_MS: u128 = 15 * 60 * 1000;

/// The longest id of a job that we make; BigQuery takes 1,024 characters.
const MAX_JOB_ID: usize = 256;

/// A job's id: `phase6_<run>_<export>_<query>_<attempt>`. BigQuery allows letters, digits, `_` and `-`.
pub fn job_id(statement: &Statement, attempt: &str) -> String {
    let Purpose { export, run_id, .. } = &statement.purpose;
    let query = statement.name.strip_prefix(export.as_str()).map_or(statement.name.as_str(), |q| q.trim_matches('.'));
    let parts = [run_id.as_str(), export.as_str(), query];
    let mut id = String::from("phase6");
    for part in parts.into_iter().filter(|p| !p.is_empty()) {
        id.push('_');
        id.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' }));
    }
    id.truncate(MAX_JOB_ID - attempt.len() - 1);
    format!("{id}_{attempt}")
}

/// A label's value: lower-case letters, digits, `_` and `-`, at most 63 characters.
pub fn label(text: &str) -> String {
    let allowed =
        |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-') { c } else { '-' };
    text.chars().flat_map(char::to_lowercase).map(allowed).take(63).collect()
}

/// How a job is to be run.
pub struct Limits<'a> {
    pub project: &'a str,
    pub location: Option<&'a str>,
    /// What it may be billed at the most, in bytes.
    pub cap: u64,
}

/// The body of `jobs.insert`.
pub fn insert(statement: &Statement, limits: &Limits<'_>, job_id: &str) -> Json {
    let mut body = configured(statement);
    body["jobReference"] = reference(limits, job_id);
    let configuration = &mut body["configuration"];
    configuration["query"]["maximumBytesBilled"] = limits.cap.to_string().into();
    let limit = statement.purpose.time_limit.map_or(DEFAULT_TIME_LIMIT_MS, |limit| limit.as_millis());
    configuration["jobTimeoutMs"] = limit.to_string().into();
    body
}

/// The body of `jobs.insert` that only asks. It is not capped: it bills nothing, and what it would read is the question.
pub fn dry_run(statement: &Statement, limits: &Limits<'_>) -> Json {
    let mut body = configured(statement);
    body["configuration"]["dryRun"] = true.into();
    if let Some(location) = limits.location {
        body["jobReference"] = json!({ "projectId": limits.project, "location": location });
    }
    body
}

fn reference(limits: &Limits<'_>, job_id: &str) -> Json {
    let mut reference = json!({ "projectId": limits.project, "jobId": job_id });
    if let Some(location) = limits.location {
        reference["location"] = location.into();
    }
    reference
}

fn configured(statement: &Statement) -> Json {
    let mut query = json!({ "query": statement.sql, "useLegacySql": false, "useQueryCache": true });
    if !statement.params.is_empty() {
        query["parameterMode"] = "NAMED".into();
        query["queryParameters"] = statement.params.iter().map(parameter).collect();
    }
    let mut labels = json!({ "app": "phase6" });
    let Purpose { export, run_id, .. } = &statement.purpose;
    for (key, value) in [("export", export), ("run", run_id)] {
        if !value.is_empty() {
            labels[key] = label(value).into();
        }
    }
    json!({ "configuration": { "query": query, "labels": labels } })
}

fn parameter(param: &Param) -> Json {
    json!({ "name": param.name, "parameterType": parameter_type(&param.ty), "parameterValue": parameter_value(&param.value) })
}

fn parameter_type(ty: &Type) -> Json {
    match ty {
        Type::Array(item) => json!({ "type": "ARRAY", "arrayType": parameter_type(item) }),
        Type::Struct(fields) => {
            let fields: Vec<Json> =
                fields.iter().map(|f| json!({ "name": f.name, "type": parameter_type(&f.ty) })).collect();
            json!({ "type": "STRUCT", "structTypes": fields })
        }
        Type::Range(item) => json!({ "type": "RANGE", "rangeElementType": parameter_type(item) }),
        scalar => json!({ "type": scalar.to_string() }),
    }
}

/// Every scalar travels as text; NULL is a JSON null, which an absent value would be as well.
fn parameter_value(value: &Value) -> Json {
    let text = match value {
        Value::Null => return json!({ "value": null }),
        Value::Array(items) => return json!({ "arrayValues": items.iter().map(parameter_value).collect::<Vec<_>>() }),
        Value::Bool(v) => v.to_string(),
        Value::Int64(v) => v.to_string(),
        Value::Float64(v) => crate::sql::values::float_text(*v),
        Value::Text(text) => text.clone(),
    };
    json!({ "value": text })
}

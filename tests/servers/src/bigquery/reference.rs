//! What BigQuery's REST reference (v2) knows of a query job: the fields of its resources, and how ids, labels and parameters
//! have to look. Whatever is not here is refused.

use serde_json::Value;

/// Why a request is refused: reason and message, both as BigQuery has them.
pub type Refusal = (&'static str, String);

const JOB: &[&str] =
    &["kind", "etag", "id", "selfLink", "user_email", "configuration", "jobReference", "statistics", "status"];
const REFERENCE: &[&str] = &["projectId", "jobId", "location"];
const CONFIGURATION: &[&str] =
    &["jobType", "query", "load", "copy", "extract", "dryRun", "jobTimeoutMs", "labels", "reservation", "maxSlots"];
const QUERY: &[&str] = &[
    "query",
    "destinationTable",
    "tableDefinitions",
    "userDefinedFunctionResources",
    "createDisposition",
    "writeDisposition",
    "defaultDataset",
    "priority",
    "preserveNulls",
    "allowLargeResults",
    "useQueryCache",
    "flattenResults",
    "maximumBillingTier",
    "maximumBytesBilled",
    "useLegacySql",
    "parameterMode",
    "queryParameters",
    "schemaUpdateOptions",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "destinationEncryptionConfiguration",
    "scriptOptions",
    "connectionProperties",
    "createSession",
    "continuous",
    "writeIncrementalResults",
];
const PARAMETER: &[&str] = &["name", "parameterType", "parameterValue"];
const PARAMETER_TYPE: &[&str] = &["type", "timestampPrecision", "arrayType", "structTypes", "rangeElementType"];
const PARAMETER_VALUE: &[&str] = &["value", "arrayValues", "structValues", "rangeValue"];
const SCALARS: &[&str] = &[
    "INT64",
    "FLOAT64",
    "BOOL",
    "STRING",
    "BYTES",
    "DATE",
    "TIME",
    "DATETIME",
    "TIMESTAMP",
    "NUMERIC",
    "BIGNUMERIC",
    "JSON",
    "INTERVAL",
    "GEOGRAPHY",
];

/// Standard query parameters that every method takes.
const STANDARD: &[&str] = &["prettyPrint", "alt", "fields", "quotaUser", "key"];

/// Refuses query parameters that a method does not have.
pub fn query_params(given: &[(String, String)], known: &[&str]) -> Result<(), Refusal> {
    for (name, value) in given {
        if !known.contains(&name.as_str()) && !STANDARD.contains(&name.as_str()) {
            return Err((
                "invalidParameter",
                format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter."),
            ));
        }
        if matches!(name.as_str(), "maxResults" | "timeoutMs" | "startIndex") && value.parse::<u64>().is_err() {
            return Err(("invalid", format!("Invalid value at '{name}' (TYPE_UINT64), \"{value}\"")));
        }
    }
    Ok(())
}

fn known(value: &Value, at: &str, fields: &[&str]) -> Result<(), Refusal> {
    let Some(object) = value.as_object() else { return Err(("parseError", format!("'{at}' has to be an object"))) };
    match object.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(key) => Err((
            "invalid",
            format!("Invalid JSON payload received. Unknown name \"{key}\" at '{at}': Cannot find field."),
        )),
        None => Ok(()),
    }
}

/// Checks the body of `jobs.insert` for a query.
pub fn job(body: &Value, project: &str) -> Result<(), Refusal> {
    known(body, "job", JOB)?;
    if let Some(reference) = body.get("jobReference") {
        known(reference, "job.job_reference", REFERENCE)?;
        if reference["projectId"].as_str().is_some_and(|p| p != project) {
            return Err(("invalid", "Value for projectId in content does not agree with value in request.".into()));
        }
        if let Some(id) = reference.get("jobId") {
            job_id(id.as_str().unwrap_or_default())?;
        }
    }
    let configuration = &body["configuration"];
    known(configuration, "job.configuration", CONFIGURATION)?;
    number(configuration, "jobTimeoutMs")?;
    labels(configuration)?;
    let query = &configuration["query"];
    known(query, "job.configuration.query", QUERY)?;
    number(query, "maximumBytesBilled")?;
    if query["useLegacySql"] != Value::Bool(false) {
        return Err((
            "invalidQuery",
            "Legacy SQL is the default here as at BigQuery, and this server speaks GoogleSQL alone".into(),
        ));
    }
    parameters(query)
}

fn job_id(id: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.is_empty() || id.len() > 1024 || !id.chars().all(allowed) {
        return Err((
            "invalid",
            format!(
                "Invalid job ID \"{id}\". Job IDs must be alphanumeric (plus underscores and dashes) and must be at most 1024 characters long."
            ),
        ));
    }
    Ok(())
}

/// 64-bit numbers are texts of digits.
fn number(object: &Value, key: &str) -> Result<(), Refusal> {
    match object.get(key) {
        None => Ok(()),
        Some(Value::String(text)) if text.parse::<i64>().is_ok() => Ok(()),
        Some(other) => Err(("invalid", format!("Invalid value at '{key}' (TYPE_INT64), {other}"))),
    }
}

fn labels(configuration: &Value) -> Result<(), Refusal> {
    let Some(labels) = configuration.get("labels") else { return Ok(()) };
    let labels = labels.as_object().ok_or(("invalid", "labels have to be a map".to_owned()))?;
    let text = |t: &str| {
        t.chars().count() <= 63 && t.chars().all(|c| c.is_lowercase() || c.is_numeric() || matches!(c, '_' | '-'))
    };
    for (key, value) in labels {
        let begins = key.starts_with(|c: char| c.is_lowercase());
        if !begins || !text(key) || !value.as_str().is_some_and(text) {
            return Err((
                "invalid",
                format!("Invalid value for label \"{key}\": {value} (lower-case letters, digits, _ and -, at most 63)"),
            ));
        }
    }
    if labels.len() > 64 { Err(("invalid", "too many labels".into())) } else { Ok(()) }
}

fn parameters(query: &Value) -> Result<(), Refusal> {
    let Some(list) = query.get("queryParameters") else { return Ok(()) };
    if query["parameterMode"] != "NAMED" {
        return Err(("invalid", "parameterMode must be NAMED for named query parameters".into()));
    }
    for parameter in list.as_array().into_iter().flatten() {
        known(parameter, "query_parameters[]", PARAMETER)?;
        let name = parameter["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Err(("invalid", "a named query parameter has no name".into()));
        }
        typed(name, &parameter["parameterType"], &parameter["parameterValue"])?;
    }
    Ok(())
}

fn typed(name: &str, ty: &Value, value: &Value) -> Result<(), Refusal> {
    known(ty, "query_parameters[].parameter_type", PARAMETER_TYPE)?;
    known(value, "query_parameters[].parameter_value", PARAMETER_VALUE)?;
    let bad = |what: String| Err(("invalid", format!("Invalid value for query parameter '{name}': {what}")));
    match ty["type"].as_str() {
        Some("ARRAY") => {
            if value.get("value").is_some_and(|v| !v.is_null()) {
                return bad("an array's values go into arrayValues".into());
            }
            value["arrayValues"]
                .as_array()
                .into_iter()
                .flatten()
                .try_for_each(|item| typed(name, &ty["arrayType"], item))
        }
        Some(scalar) if SCALARS.contains(&scalar) => match value.get("value") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(text)) if fits(scalar, text) => Ok(()),
            Some(other) => bad(format!("{other} is no {scalar}")),
        },
        other => bad(format!("the type {other:?} is not known")),
    }
}

fn fits(scalar: &str, text: &str) -> bool {
    let digits = |from: usize, to: usize| text.get(from..to).is_some_and(|t| t.bytes().all(|b| b.is_ascii_digit()));
    match scalar {
        "INT64" => text.parse::<i64>().is_ok(),
        "FLOAT64" => text.parse::<f64>().is_ok(),
        "BOOL" => matches!(text, "true" | "false"),
        "DATE" => text.len() == 10 && digits(0, 4) && digits(5, 7) && digits(8, 10),
        "TIMESTAMP" | "DATETIME" => digits(0, 4) && text.len() >= 10,
        "NUMERIC" | "BIGNUMERIC" => text.parse::<f64>().is_ok(),
        _ => true,
    }
}

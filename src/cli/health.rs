//! `phase6 health`: asks a running service whether it is well. A container's health check, where there is no other program.

use super::args::{Format, Global, HealthArgs};
use super::context::{self, fail};
use super::exit::Exit;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// An answer is a short list of checks.
const MOST: u64 = 64 * 1024;

pub fn run(global: &Global, args: &HealthArgs) -> Exit {
    let url = match &args.url {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => match address(global, args) {
            Ok(address) => format!("http://{}", called(address)),
            Err(exit) => return exit,
        },
    };
    let url = format!("{url}/{}", if args.ready { "ready" } else { "live" });
    match ask(&url, args.timeout) {
        Ok((status @ (401 | 403), _)) => fail(Exit::Unavailable, not_let_in(&url, status)),
        Ok((status, body)) => {
            let good = status == 200;
            if !(global.quiet && good) {
                print!("{}", report(&url, good, &body, global.format));
            }
            if good { Exit::Ok } else { Exit::Failed }
        }
        Err(reason) => fail(Exit::Unavailable, format!("{url} does not answer: {reason}")),
    }
}

/// The service itself lets everybody ask for its health: who refuses stands before it, and of the service nothing is known.
fn not_let_in(url: &str, status: u16) -> String {
    format!(
        "not let in to {url} (HTTP {status}): what stands before the service wants to know who asks; on Cloud Run, \
         `gcloud run services proxy SERVICE --region REGION` asks as you, then --url http://127.0.0.1:8080"
    )
}

/// Where the service listens: as told, else what the project says.
fn address(global: &Global, args: &HealthArgs) -> Result<SocketAddr, Exit> {
    if let Some(address) = args.listen {
        return Ok(address);
    }
    super::door::address(&context::load(global)?.project, None).ok_or_else(|| {
        let ways = "name it with --listen, --url, PHASE6_LISTEN or `service.listen`";
        fail(Exit::Usage, format!("it is not known where the service listens: {ways}"))
    })
}

/// Who listens on every address is called on this machine's own.
fn called(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The answer's status and text.
fn ask(url: &str, timeout: Duration) -> Result<(u16, String), String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let mut answer = ureq::Agent::from(config).get(url).call().map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MOST).read_to_string().map_err(|e| e.to_string())?;
    Ok((status, body))
}

fn report(url: &str, good: bool, body: &str, format: Format) -> String {
    if matches!(format, Format::Json | Format::Jsonl) {
        return format!("{}\n", body.trim_end());
    }
    let mut text = format!("{}  {url}\n", if good { "ok" } else { "--" });
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    for check in answer["checks"].as_array().into_iter().flatten().filter(|c| c["ok"] != true) {
        let reason = match (check["reason"].as_str(), check["age_seconds"].as_f64()) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(age)) => format!("has not gone round for {age:.0} s"),
            (None, None) => "failed".to_owned(),
        };
        text.push_str(&format!("    {}: {reason}\n", check["name"].as_str().unwrap_or("?")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_called_here() {
        for (listens, wanted) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.1.2.3:80", "10.1.2.3:80")]
        {
            assert_eq!(called(listens.parse().unwrap()).to_string(), wanted);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let body = r#"{"status":"failed","checks":[{"name":"bus","ok":true},{"name":"state","ok":false,"reason":"gone"},
            {"name":"worker","ok":false,"age_seconds":61.2,"limit_seconds":60.0}]}"#;
        let text = report("http://h/live", false, body, Format::Human);
        assert_eq!(text, "--  http://h/live\n    state: gone\n    worker: has not gone round for 61 s\n");
        assert_eq!(report("u", true, "nonsense", Format::Human), "ok  u\n");
    }
}

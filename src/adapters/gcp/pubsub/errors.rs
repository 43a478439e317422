//! What Pub/Sub says, as the bus's errors: by gRPC code, never by text.

use super::super::Unanswered;
use crate::ports::bus::{BusError, BusErrorKind};
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::error::PublishError;
use serde::Deserialize;

/// The code of an answer; none where there was no answer.
pub fn code(error: &Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

/// Whose error it is.
pub fn kind(error: &Error) -> BusErrorKind {
    match code(error) {
        Some(code) => kind_of(code),
        None if error.is_authentication() && !error.is_transient_and_before_rpc() => BusErrorKind::Fatal,
        None if error.is_binding() || error.is_serialization() => BusErrorKind::Invalid,
        None if error.is_deserialization() => BusErrorKind::Fatal,
        // Nothing was answered: a connection that failed, a call that took too long.
        None => BusErrorKind::Transient,
    }
}

/// <https://cloud.google.com/pubsub/docs/reference/error-codes>
fn kind_of(code: Code) -> BusErrorKind {
    match code {
        Code::NotFound => BusErrorKind::NotFound,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::AlreadyExists => {
            BusErrorKind::Invalid
        }
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Cancelled
        | Code::Unknown => BusErrorKind::Transient,
        _ => BusErrorKind::Fatal,
    }
}

/// What the body of a refusal says; nothing where it is no JSON, as a proxy's.
pub fn reason(body: &[u8]) -> Reason {
    let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
    error
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Reason {
    pub message: String,
    /// The code's name.
    pub status: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Reason,
}

/// Whose error it is that a call of our own has no answer.
pub fn of_unanswered(why: &Unanswered) -> BusErrorKind {
    match why {
        Unanswered::Lost(_) | Unanswered::Credentials { for_now: true, .. } => BusErrorKind::Transient,
        _ => BusErrorKind::Fatal,
    }
}

/// A failed call in a sentence: what was tried, on which bus, and what was answered.
pub fn failed(bus: &str, tried: &str, error: &Error) -> BusError {
    match error.status() {
        Some(status) => answered(bus, tried, status.code, &status.message),
        None => BusError::new(kind(error), format!("{bus}: {tried} failed: {error}")),
    }
}

/// The same of a call whose answer was read by ourselves.
pub fn answered(bus: &str, tried: &str, code: Code, message: &str) -> BusError {
    let hint = match code {
        Code::PermissionDenied => ": the service's account lacks a role; `phase6 deploy --dry-run` lists them",
        Code::Unauthenticated => ": the credentials were not accepted",
        _ => "",
    };
    let name = code.name();
    BusError::new(kind_of(code), format!("{bus}: {tried} failed: {message} ({name}){hint}"))
}

/// The code of an answer by REST: its name in the body, else what its HTTP status stands for
/// (<https://cloud.google.com/apis/design/errors#handling_errors>).
pub fn code_of_rest(http_status: u16, name: &str) -> Code {
    Code::try_from(name).unwrap_or(match http_status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        429 => Code::ResourceExhausted,
        500.. => Code::Unavailable,
        _ => Code::Unknown,
    })
}

/// The call's own error, below what the publisher makes of it.
pub fn of_publish(error: &PublishError) -> Option<&Error> {
    match error {
        PublishError::Rpc(error) => Some(error.as_ref()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_gax::error::rpc::Status;

    #[test]
    fn the_code_says_whose_error_it_is() {
        let of = |code: Code| kind(&Error::service(Status::default().set_code(code).set_message("NOT_FOUND")));
        assert_eq!(of(Code::NotFound), BusErrorKind::NotFound);
        assert_eq!(of(Code::InvalidArgument), BusErrorKind::Invalid);
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Aborted, Code::Internal]
        {
            assert_eq!(of(code), BusErrorKind::Transient, "{code:?}");
        }
        for code in [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented] {
            assert_eq!(of(code), BusErrorKind::Fatal, "{code:?}");
        }
        assert_eq!(kind(&Error::timeout("slow")), BusErrorKind::Transient);
    }

    #[test]
    fn a_denied_call_says_what_to_do() {
        let status = Status::default().set_code(Code::PermissionDenied).set_message("no");
        let error = failed("Pub/Sub project `x`", "creating topic `t`", &Error::service(status));
        assert!(error.message.contains("creating topic `t` failed: no (PERMISSION_DENIED)"), "{error}");
        assert!(error.message.contains("phase6 deploy"), "{error}");
    }
}

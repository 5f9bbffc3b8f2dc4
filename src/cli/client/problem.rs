//! What a gateway answers when it does not do what was asked: one line with the code, one more per field, an exit code.

use crate::cli::output::plain;
use crate::cli::{Exit, Failed};
use http::StatusCode;
use serde_json::Value;
use std::fmt;

/// A refusal, as told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) struct Problem {
    pub(in crate::cli) status: StatusCode,
    pub(in crate::cli) code: String,
    detail: String,
    request: Option<String>,
    fields: Vec<String>,
    /// What somebody can do who was not let in.
    pub(super) advice: Option<String>,
}

impl Problem {
    /// Reads an answer that is no success, whoever wrote it.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| said[name].as_str().map(plain);
        let detail = text("detail").or_else(|| text("title"));
        let no_words = || {
            let reason = status
                .canonical_reason()
                .unwrap_or("an answer without words");
            format!("the gateway answers {} ({reason})", status.as_u16())
        };
        let fields = said["errors"].as_array().into_iter().flatten();
        Self {
            status,
            code: text("code").unwrap_or_default(),
            detail: detail.unwrap_or_else(no_words),
            request: text("request_id").filter(|_| status.is_server_error()),
            fields: fields.map(field).collect(),
            advice: None,
        }
    }

    fn exit(&self) -> Exit {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Auth,
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Exit::Conflict,
            StatusCode::UNPROCESSABLE_ENTITY => Exit::Usage,
            _ => Exit::Failure,
        }
    }

    /// The failure of a command.
    pub(super) fn failed(self) -> Failed {
        Failed::with(self.exit(), self)
    }
}

/// One wrong field: where, what, and its code.
pub(in crate::cli) fn field(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().map(plain).unwrap_or_default();
    let (pointer, message, code) = (text("pointer"), text("message"), text("code"));
    let place = if pointer.is_empty() {
        String::new()
    } else {
        format!("{pointer}: ")
    };
    format!("{place}{message} ({code})")
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)?;
        if !self.code.is_empty() {
            write!(out, " ({})", self.code)?;
        }
        if let Some(request) = &self.request {
            write!(out, ", request {request}")?;
        }
        if let Some(advice) = &self.advice {
            write!(out, "; {advice}")?;
        }
        for field in &self.fields {
            write!(out, "\n  {field}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(status: u16, body: &Value) -> Problem {
        let status = StatusCode::from_u16(status).unwrap();
        Problem::read(status, body.to_string().as_bytes())
    }

    #[test]
    fn every_field_has_a_line() {
        let said = problem(
            422,
            &json!({"detail": "some fields are not valid", "code": "validation_failed", "errors": [
                {"pointer": "/name", "code": "required", "message": "a key has a name"},
                {"pointer": "/scopes/0", "code": "invalid", "message": "a scope has no space"},
            ]}),
        );
        assert_eq!(
            said.to_string(),
            "some fields are not valid (validation_failed)\n  /name: a key has a name (required)\n  \
             /scopes/0: a scope has no space (invalid)"
        );
        assert_eq!(said.exit(), Exit::Usage);
    }

    #[test]
    fn statuses_become_exit_codes() {
        for (status, exit) in [
            (400, Exit::Failure),
            (401, Exit::Auth),
            (403, Exit::Auth),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (412, Exit::Conflict),
            (422, Exit::Usage),
            (429, Exit::Failure),
            (500, Exit::Failure),
            (503, Exit::Failure),
        ] {
            assert_eq!(problem(status, &json!({})).exit(), exit, "{status}");
        }
    }

    #[test]
    fn an_answer_of_somebody_else_is_told_by_its_status() {
        let said = Problem::read(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(said.to_string(), "the gateway answers 502 (Bad Gateway)");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_not_passed_on() {
        let said = problem(409, &json!({"detail": "\u{1b}[2Jgone", "code": "conflict"}));
        assert!(!said.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_fault_of_the_gateway_names_the_request() {
        let said = problem(
            500,
            &json!({"detail": "oh", "code": "internal", "request_id": "req_1"}),
        );
        assert_eq!(said.to_string(), "oh (internal), request req_1");
    }
}

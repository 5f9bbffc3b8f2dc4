//! The head of an answer over HTTP/2, cleaned and refused as one over HTTP/1.1 is. h2 has refused what is for one hop, and
//! sees to it that the body is as long as the head says.

use super::super::super::fields::{self, Field};
use super::super::answer::{AnswerHead, Framing, Malformed};
use crate::proxy::answer::Lines;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{Method, Response, StatusCode};

/// The head, ready to be passed on; `ends`: there is nothing behind it.
pub(super) fn head(
    answer: Response<()>,
    method: &Method,
    ends: bool,
) -> Result<AnswerHead, Malformed> {
    let (parts, ()) = answer.into_parts();
    let status = parts.status;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // HTTP/2 has no such thing (RFC 9113 §8.6).
        return Err(Malformed);
    }
    let length = length(&parts.headers)?;
    let bodiless = ends
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *method == Method::HEAD;
    let framing = match length {
        _ if bodiless => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    };
    Ok(AnswerHead {
        status,
        lines: passed(status, &parts.headers)?,
        framing,
        keep_alive: true,
    })
}

/// Digits only; said twice it must say the same.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let length = fields::length(value.as_bytes()).ok_or(Malformed)?;
        if found.is_some_and(|before| before != length) {
            return Err(Malformed);
        }
        found = Some(length);
    }
    Ok(found)
}

/// The fields that may be passed on.
fn passed(status: StatusCode, headers: &HeaderMap) -> Result<Lines, Malformed> {
    let mut passed = Lines::begin(Vec::new(), status);
    for (name, value) in headers {
        match fields::of_answer(name.as_str()) {
            Field::TransferEncoding | Field::Connection => return Err(Malformed),
            Field::ContentLength if passed.sized => {}
            Field::HopByHop | Field::Claim => {}
            Field::ContentLength | Field::EndToEnd | Field::Te | Field::Host | Field::Expect => {
                passed.add(name.as_str(), value.as_bytes());
            }
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(
        status: u16,
        fields: &[(&'static str, &'static str)],
    ) -> Result<AnswerHead, Malformed> {
        let mut builder = Response::builder().status(status);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        head(builder.body(()).unwrap(), &Method::GET, false)
    }

    #[test]
    fn fields_pass_but_for_those_that_are_ours() {
        let head = answer(200, &[("x-a", "1"), ("x-a", "2"), ("x-request-id", "3")]).unwrap();
        assert_eq!(head.lines.to_map().len(), 2);
        assert_eq!(head.framing, Framing::UntilClose);
        let twice = [("content-length", "5"), ("content-length", "5")];
        let head = answer(200, &twice).unwrap();
        assert_eq!(
            (head.lines.to_map().len(), head.framing),
            (1, Framing::Length(5))
        );
        assert_eq!(answer(304, &twice).unwrap().framing, Framing::Empty);
    }

    #[test]
    fn unclear_answers_are_refused() {
        for fields in [
            [("content-length", "5"), ("content-length", "6")],
            [("content-length", "+5"), ("x", "y")],
            [("transfer-encoding", "chunked"), ("x", "y")],
            [("connection", "close"), ("x", "y")],
        ] {
            assert!(answer(200, &fields).is_err(), "{fields:?}");
        }
        assert!(answer(101, &[]).is_err());
    }
}

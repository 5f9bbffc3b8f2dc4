//! Limits as they are shown and written, wherever they stand.

use super::body::{Body, invalid, whole};
use crate::domain::limit::{Limit, Rate};
use crate::gate::limit::Standing;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How many requests may come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub(in crate::admin) struct LimitsView {
    /// Over time: `100/s`, with a unit of s, m, h or d.
    rate: String,
    /// At once.
    burst: u32,
}

impl LimitsView {
    pub(in crate::admin) fn of(limit: Limit) -> Self {
        Self {
            rate: limit.rate().to_string(),
            burst: limit.burst(),
        }
    }
}

/// How things stand with a limit: of several, the one that is used up, or that leaves the least.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitStanding)]
pub(in crate::admin) struct StandingView {
    /// Whose it is: `key`, `consumer`, `route`.
    policy: &'static str,
    /// Most requests at once.
    limit: u32,
    /// Those of them that may still come.
    remaining: u32,
    /// Seconds until all of them may come again.
    reset: u32,
    /// Seconds until the next one may come; 0 while one may.
    retry_after: u32,
}

impl From<Standing> for StandingView {
    fn from(standing: Standing) -> Self {
        Self {
            policy: standing.policy.name(),
            limit: standing.limit,
            remaining: standing.remaining,
            reset: standing.reset,
            retry_after: standing.wait,
        }
    }
}

/// How many requests may come.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewLimits {
    /// Over time: `100/s`, with a unit of s, m, h or d.
    #[schema(pattern = "^(1000000|[1-9][0-9]{0,5})/[smhd]$")]
    rate: String,
    /// At once; as many as the rate has in its unit unless given, also when the rate changes.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
}

/// What of a limit is to change; what is absent stays.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct LimitsPatch {
    /// Over time: `100/s`, with a unit of s, m, h or d.
    #[schema(pattern = "^(1000000|[1-9][0-9]{0,5})/[smhd]$")]
    rate: Option<String>,
    /// At once; null: as many as the rate has in its unit, also when that changes.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
}

/// What a patch of limits is merged into: what was said, so that a burst that was not goes on following the rate.
pub(in crate::admin) fn before(limit: Option<Limit>) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(limit) = limit {
        fields.insert("rate".into(), limit.rate().to_string().into());
        let burst = limit.said_burst();
        fields.extend(burst.map(|burst| ("burst".into(), burst.into())));
    }
    fields
}

/// Reads the object of that name.
pub(in crate::admin) fn limits(body: &mut Body) -> Option<Limit> {
    let rate = body.required("rate", |value| {
        let rate = value
            .as_str()
            .ok_or_else(|| "expected a rate such as `100/s`".to_owned());
        rate.and_then(Rate::parse).or_else(invalid)
    });
    let burst = body.nullable("burst", |value| {
        let burst = whole(value)?;
        // Its own range first: it is told of beside a fault of the rate.
        let fits = (1..=u64::from(Limit::MOST)).contains(&burst);
        fits.then_some(burst)
            .ok_or_else(|| ("out_of_range", Limit::burst_words()))
    });
    match Limit::new(rate?, burst.flatten()) {
        Ok(limit) => Some(limit),
        Err(words) => {
            body.fault("burst", ("out_of_range", words));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_field_is_checked_by_itself() {
        let told = |sent: Value| {
            let mut body = Body::of([("limits".to_owned(), sent)].into_iter().collect());
            let read = body.object("limits", limits).flatten();
            let faults = body.into_faults().into_iter();
            let faults = faults.map(|fault| format!("{} {}", fault.pointer, fault.code));
            (read.is_some(), faults.collect::<Vec<_>>())
        };
        let all = [
            "/limits/rate invalid",
            "/limits/burst out_of_range",
            "/limits/foo unknown_field",
        ];
        let (_, faults) = told(json!({"rate": "x", "burst": 0, "foo": 1}));
        assert_eq!(faults, all);
        for (burst, want) in [
            (json!(0), vec!["/limits/burst out_of_range"]),
            (json!(1_000_001), vec!["/limits/burst out_of_range"]),
            (json!("1"), vec!["/limits/burst invalid"]),
            (json!(1), vec![]),
            (json!(1_000_000), vec![]),
            (json!(null), vec![]),
        ] {
            let (_, faults) = told(json!({"rate": "5/s", "burst": burst}));
            assert_eq!(faults, want, "{burst}");
        }
        // What is wrong with the two together.
        let (read, faults) = told(json!({"rate": "1/d", "burst": 367}));
        assert_eq!(
            (read, &*faults),
            (false, &["/limits/burst out_of_range".to_owned()][..])
        );
    }
}

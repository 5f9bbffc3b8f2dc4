//! Scopes: the rights a key has and the rights a route demands. An empty set opens nothing.

use std::fmt;

/// Most bytes a scope may have.
pub const MAX_LEN: usize = 128;

/// One right, such as `billing:read`: 1–128 characters of `A-Z a-z 0-9 : . _ / -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// Reads a scope; `None` when it has other characters or no proper length.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty()
            && text.len() <= MAX_LEN
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b":._/-".contains(&byte));
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a route demands of a key, by method.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScopeDemand {
    /// No scope is demanded: any valid key that may use this route passes.
    #[default]
    None,
    /// The same scopes, all of them, for every method.
    Always(Vec<Scope>),
    /// Scopes per method, all of a method's list. `HEAD` is read as `GET` where it has no entry of its own.
    PerMethod {
        /// The methods that have an entry.
        methods: Vec<(http::Method, Vec<Scope>)>,
        /// The entry `"*"`, for every other method. Without it no key opens a method that has no entry.
        any: Option<Vec<Scope>>,
    },
}

impl ScopeDemand {
    /// The scopes demanded for a method. `None` means that nothing opens it.
    pub fn for_method(&self, method: &http::Method) -> Option<&[Scope]> {
        let (methods, any) = match self {
            Self::None => return Some(&[]),
            Self::Always(scopes) => return Some(scopes),
            Self::PerMethod { methods, any } => (methods, any),
        };
        let entry = |wanted: &http::Method| {
            methods
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, list)| &list[..])
        };
        entry(method)
            .or_else(|| {
                if *method == http::Method::HEAD {
                    entry(&http::Method::GET)
                } else {
                    None
                }
            })
            .or(any.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn scopes_have_a_small_alphabet() {
        for good in ["a", "billing:read", "a/b.c-d_e"] {
            assert!(Scope::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a,b", "é", &"x".repeat(129)] {
            assert!(Scope::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn demand_by_method() {
        let demand = ScopeDemand::PerMethod {
            methods: vec![(Method::GET, vec![scope("r")])],
            any: Some(vec![scope("w")]),
        };
        assert_eq!(demand.for_method(&Method::GET), Some(&[scope("r")][..]));
        assert_eq!(demand.for_method(&Method::HEAD), Some(&[scope("r")][..]));
        assert_eq!(demand.for_method(&Method::POST), Some(&[scope("w")][..]));
        let closed = ScopeDemand::PerMethod {
            methods: vec![(Method::GET, vec![])],
            any: None,
        };
        assert_eq!(closed.for_method(&Method::POST), None);
        assert_eq!(ScopeDemand::None.for_method(&Method::POST), Some(&[][..]));
    }
}

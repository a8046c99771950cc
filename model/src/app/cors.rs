//! Which other sites' pages may use an app (the Fetch standard's CORS protocol).

use std::time::Duration;

use crate::path::PathPrefix;

/// One rule, for one part of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRule {
    /// Where it holds.
    pub path: PathPrefix,
    /// Origins such as `https://shop.example.com`, compared exactly, or `*` alone.
    pub origins: Vec<String>,
    /// Methods besides the simple ones, or `*` alone.
    pub methods: Vec<String>,
    /// Request fields in lower case; `x-*` stands for all that begin so, `*` for all but `authorization`.
    pub fields: Vec<String>,
    /// Fields of answers that pages may read.
    pub exposed_fields: Vec<String>,
    /// Whether cookies come along.
    pub credentials: bool,
    /// How long browsers keep the answer.
    pub max_age: Duration,
}

impl CorsRule {
    /// Rules of one site, at most.
    pub const RULES_MAX: usize = 16;
    /// Origins or methods of one rule, at most.
    pub const ORIGINS_MAX: usize = 32;
    /// Request or answer fields of one rule, at most.
    pub const FIELDS_MAX: usize = 64;
    /// Of rules that say nothing else: browsers' own default is 5 s.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(300);
    /// What the most patient browser keeps.
    pub const MAX_AGE_MAX: Duration = Duration::from_secs(86_400);
}

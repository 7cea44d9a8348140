//! Path templates of `google.api.http`: `/v1/{name=accounts/*/datasets/*}:validateUpload`.
//!
//! Grammar (from the comments of `google/api/http.proto`): segments divided by `/`, each a literal, `*` (one
//! segment), `**` (the rest, only last) or `{field.path=segments}`; after the last one an optional `:verb`.

use percent_encoding::percent_decode_str;

/// One part between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text.
    Literal(String),
    /// One segment of any text.
    One,
    /// All that is left.
    Rest,
}

/// A field that takes the text of some segments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    field_path: Vec<String>,
    first: usize,
    end: usize,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    verb: Option<String>,
}

/// Field paths and the text that the path gives them.
pub(crate) type Captures = Vec<(Vec<String>, String)>;

impl Template {
    /// Parses a template; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_prefix('/').ok_or_else(|| format!("{text}: does not begin with a slash"))?;
        let (body, verb) = split_verb(body);
        let mut template =
            Self { segments: Vec::new(), variables: Vec::new(), verb: verb.map(str::to_owned) };
        let mut rest = body;
        while !rest.is_empty() {
            rest = match rest.strip_prefix('{') {
                Some(inner) => {
                    let (inside, after) =
                        inner.split_once('}').ok_or_else(|| format!("{text}: a brace is not closed"))?;
                    template.push_variable(inside).map_err(|what| format!("{text}: {what}"))?;
                    match after.strip_prefix('/') {
                        Some(next) => next,
                        None if after.is_empty() => after,
                        None => return Err(format!("{text}: text follows a brace")),
                    }
                }
                None => {
                    let (one, next) = rest.split_once('/').unwrap_or((rest, ""));
                    template.push_segment(one).map_err(|what| format!("{text}: {what}"))?;
                    next
                }
            };
        }
        let rest_inside = template.segments.iter().rev().skip(1).any(|segment| *segment == Segment::Rest);
        if template.segments.is_empty() || rest_inside {
            return Err(format!("{text}: is empty or has ** before its end"));
        }
        Ok(template)
    }

    fn push_segment(&mut self, text: &str) -> Result<(), String> {
        let segment = match text {
            "" => return Err("an empty segment".to_owned()),
            "*" => Segment::One,
            "**" => Segment::Rest,
            literal if literal.contains(['{', '}', '*', ':']) => {
                return Err(format!("a segment that cannot be read: {literal}"));
            }
            literal => Segment::Literal(literal.to_owned()),
        };
        self.segments.push(segment);
        Ok(())
    }

    fn push_variable(&mut self, inside: &str) -> Result<(), String> {
        let (field, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
        let first = self.segments.len();
        for segment in pattern.split('/') {
            self.push_segment(segment)?;
        }
        let field_path = field.split('.').map(str::to_owned).collect();
        self.variables.push(Variable { field_path, first, end: self.segments.len() });
        Ok(())
    }

    /// Its segments, in order.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What stands behind the colon.
    pub(crate) fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// Field paths of the variables.
    pub(crate) fn field_paths(&self) -> impl Iterator<Item = &[String]> {
        self.variables.iter().map(|variable| variable.field_path.as_slice())
    }

    /// The captured fields, if the (still percent-encoded) path of a request fits.
    pub(crate) fn matches(&self, path: &str) -> Option<Captures> {
        let (body, verb) = split_verb(path.strip_prefix('/')?);
        if verb != self.verb.as_deref() {
            return None;
        }
        let parts: Vec<&str> = body.split('/').collect();
        let open_end = self.segments.last() == Some(&Segment::Rest);
        let fits =
            if open_end { parts.len() >= self.segments.len() } else { parts.len() == self.segments.len() };
        if !fits {
            return None;
        }
        for (segment, part) in self.segments.iter().zip(&parts) {
            let ok = match segment {
                Segment::Literal(literal) => literal == part,
                Segment::One | Segment::Rest => !part.is_empty(),
            };
            if !ok {
                return None;
            }
        }
        let mut captures = Vec::with_capacity(self.variables.len());
        for variable in &self.variables {
            let end = if variable.end == self.segments.len() { parts.len() } else { variable.end };
            let text = parts[variable.first..end].join("/");
            let decoded = percent_decode_str(&text).decode_utf8().ok()?.into_owned();
            captures.push((variable.field_path.clone(), decoded));
        }
        Some(captures)
    }
}

/// `a/b:verb` is `("a/b", Some("verb"))`; a colon before the last slash or brace is not a verb.
fn split_verb(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind(['/', '}']).map_or(0, |at| at + 1);
    match text[last..].find(':') {
        Some(at) => (&text[..last + at], Some(&text[last + at + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, path: &str, expect: Option<&[(&str, &str)]>) {
        let found = Template::parse(template).unwrap().matches(path);
        let found: Option<Vec<(String, String)>> =
            found.map(|list| list.into_iter().map(|(field, text)| (field.join("."), text)).collect());
        let expect: Option<Vec<(String, String)>> =
            expect.map(|list| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
        assert_eq!(found, expect, "{template} on {path}");
    }

    #[test]
    fn paths_fit_or_do_not() {
        let get = "/v1/{name=accounts/*/datasets/*}";
        check(get, "/v1/accounts/a/datasets/d", Some(&[("name", "accounts/a/datasets/d")]));
        check(get, "/v1/accounts/a/datasets/d%20x", Some(&[("name", "accounts/a/datasets/d x")]));
        check(get, "/v1/accounts/a/datasets/d/", None);
        check(get, "/v1/accounts//datasets/d", None);
        check(get, "/v1/accounts/a/datasets/d:upload", None);
        check(get, "/v1/accounts/a/models/d", None);
        check(get, "v1/accounts/a/datasets/d", None);
        let verb = "/v1/{name=accounts/*/datasets/*}:upload";
        check(verb, "/v1/accounts/a/datasets/d:upload", Some(&[("name", "accounts/a/datasets/d")]));
        check(verb, "/v1/accounts/a/datasets/d:download", None);
        check(verb, "/v1/accounts/a/datasets/d", None);
        let list = "/v1/{parent=accounts/*}/datasets";
        check(list, "/v1/accounts/a/datasets", Some(&[("parent", "accounts/a")]));
        check(
            "/v1/{parent=accounts/*}/apiKeys:delete",
            "/v1/accounts/a/apiKeys:delete",
            Some(&[("parent", "accounts/a")]),
        );
        check(
            "/v1/{dataset.name=accounts/*/datasets/*}",
            "/v1/accounts/a/datasets/d",
            Some(&[("dataset.name", "accounts/a/datasets/d")]),
        );
        check("/v1/{id}/x/{rest=files/**}", "/v1/7/x/files/a/b", Some(&[("id", "7"), ("rest", "files/a/b")]));
        check("/v1/accounts", "/v1/accounts", Some(&[]));
        check("/v1/accounts", "/v1/accounts/", None);
        check("/v1/accounts", "/v1/%ff", None);
    }

    #[test]
    fn wrong_templates_are_refused() {
        for text in ["v1/a", "/v1/{name", "/v1//a", "/v1/{a}b", "/v1/**/a", "/", "/v1/a*"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}

//! `docs/job-fields.md`: what each field of a job does, and the test that shows it. A field of the API without a row fails,
//! and so does a row whose test is not there.

mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hearth_domain::job::SUPPORTED_FIELDS;
use hearth_proto::behavior::{Behavior, behavior};
use prost_reflect::{FieldDescriptor, Kind};

use self::table::FIELDS;

/// What a row says of a field that is refused by name.
const REFUSED: &str = "Refused: ";
/// Environment variable that writes the document anew.
const RENEW: &str = "HEARTH_RENEW_JOB_FIELDS";
/// Messages of which only the job's field as a whole has a row.
const WHOLE: [&str; 2] = ["gateway.LearningRateScheduler", "gateway.ResourceEstimate"];

/// One field of the job, or of a message in it.
struct Row {
    /// JSON name, with that of the field around it.
    field: &'static str,
    /// What it does.
    behaviour: &'static str,
    /// `path::function`, from the root of the repository; or a suite of `conformance`.
    proof: &'static str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// JSON name, and whether only the server writes it, of every field of the wire's job.
fn fields() -> Vec<(String, bool)> {
    let job = hearth_proto::descriptor_pool()
        .get_message_by_name("gateway.SupervisedFineTuningJob")
        .expect("the wire has jobs");
    let is_output = |field: &FieldDescriptor| behavior(field) == Behavior::OutputOnly;
    let mut all = Vec::new();
    for field in job.fields() {
        all.push((field.json_name().to_owned(), is_output(&field)));
        if let Kind::Message(inner) = field.kind()
            && inner.package_name() == "gateway"
            && !WHOLE.contains(&inner.full_name())
        {
            let within = |part: FieldDescriptor| {
                let name = format!("{}.{}", field.json_name(), part.json_name());
                (name, is_output(&field) || is_output(&part))
            };
            all.extend(inner.fields().map(within));
        }
    }
    all
}

#[test]
fn every_field_has_one_row() {
    let rows: Vec<&str> = FIELDS.iter().map(|row| row.field).collect();
    let known: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(known.len(), rows.len(), "a field has two rows");
    let all = fields();
    let missing: Vec<&String> =
        all.iter().map(|(name, _)| name).filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "fields of the API without a row in job_fields/table.rs: {missing:?}");
    let unknown: Vec<&&str> =
        known.iter().filter(|field| !all.iter().any(|(name, _)| name == *field)).collect();
    assert!(unknown.is_empty(), "rows of fields that the API does not have: {unknown:?}");
}

/// The list that refuses fields, and the table that says so, are of one mind.
#[test]
fn what_is_refused_is_said_to_be() {
    for (name, is_output) in fields() {
        let Some(row) = FIELDS.iter().find(|row| row.field == name) else { continue };
        let whole = name.split('.').next().expect("a name has a beginning");
        let refused = !is_output && !SUPPORTED_FIELDS.contains(&whole);
        assert_eq!(row.behaviour.starts_with(REFUSED), refused, "{name}: {}", row.behaviour);
    }
}

#[test]
fn every_row_is_proven() {
    for row in FIELDS {
        let (path, function) = row.proof.split_once("::").unwrap_or((row.proof, ""));
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        assert!(!text.is_empty(), "{}: there is no {path}", row.field);
        let is_there = match path.ends_with(".py") {
            true => function.is_empty() || text.contains(&format!("def {function}(")),
            false => {
                text.contains(&format!("fn {function}("))
                    && text.contains("#[test]") | text.contains("#[tokio::test")
            }
        };
        assert!(is_there, "{}: {path} has no test {function}", row.field);
        // A suite that nobody runs proves nothing.
        if let Some(suite) = path.strip_prefix("conformance/") {
            let ci = fs::read_to_string(root().join("xtask/src/ci.rs")).unwrap();
            assert!(ci.contains(&format!("\"{suite}\"")), "{}: {path} is not run", row.field);
        }
    }
}

fn document() -> String {
    let output: BTreeSet<String> =
        fields().into_iter().filter(|(_, is_output)| *is_output).map(|(name, _)| name).collect();
    let mut text = "# The fields of a job\n\n\
        What each field of a supervised fine-tuning job does here, and the test that shows it. Zero and empty mean \"not \
        given\"; the reply has every default filled in. This page is made of \
        `crates/server/tests/routes/job_fields/table.rs`, and a test fails when a field of the API has no row.\n\n\
        | field | written by | what it does | shown by |\n|---|---|---|---|\n"
        .to_owned();
    for row in FIELDS {
        let by = if output.contains(row.field) { "server" } else { "client" };
        let (path, function) = row.proof.split_once("::").unwrap_or((row.proof, ""));
        let function = if function.is_empty() { String::new() } else { format!(", {function}") };
        text.push_str(&format!("| {} | {by} | {} | `{path}`{function} |\n", row.field, row.behaviour));
    }
    text
}

#[test]
fn the_page_is_this_table() {
    let path = root().join("docs/job-fields.md");
    let ours = document();
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, ours).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == ours,
        "docs/job-fields.md is not what the table says: {RENEW}=1 cargo nextest run -p hearth-server -E \
         'test(the_page_is_this_table)', and commit it"
    );
}

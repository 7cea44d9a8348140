//! `docs/job-fields.md`: what each field of a job does, and the tests that show it. A field of the API without a row fails,
//! and so does a row whose tests are not there, are not run, or do not speak of the field.

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
    /// `path::function`, from the root of the repository. All that is claimed is shown by them together.
    proofs: &'static [&'static str],
    /// What tests call the field where that is neither its JSON name nor the one of the proto.
    spelled: &'static [&'static str],
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
    let ci = fs::read_to_string(root().join("xtask/src/ci.rs")).unwrap();
    for row in FIELDS {
        let json = row.field.rsplit('.').next().expect("a name has an end");
        let snake = snake_case(json);
        let mut unused: BTreeSet<&str> = row.spelled.iter().copied().collect();
        assert!(!row.proofs.is_empty(), "{}: nothing shows it", row.field);
        for proof in row.proofs {
            let (path, name) = proof.split_once("::").expect("a proof is path::function");
            let text = fs::read_to_string(root().join(path)).unwrap_or_default();
            let body = match path.strip_prefix("conformance/") {
                // A suite that nobody runs proves nothing.
                Some(suite) if !ci.contains(&format!("\"{suite}\"")) => None,
                Some(_) => python_function(&text, name),
                None => test_function(&text, name),
            };
            let Some(body) = body else { panic!("{}: there is no test {name} in {path}", row.field) };
            if has_word(body, json) || has_word(body, &snake) {
                continue;
            }
            let spelled: Vec<&str> =
                row.spelled.iter().copied().filter(|word| has_word(body, word)).collect();
            assert!(!spelled.is_empty(), "{}: {name} in {path} does not speak of it", row.field);
            unused.retain(|word| !spelled.contains(word));
        }
        assert!(unused.is_empty(), "{}: no test spells it {unused:?}", row.field);
    }
}

/// From its `fn` to the brace that ends it; `None` if it is not there, or not run as a test.
fn test_function<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.find(&format!("fn {name}("))?;
    let line = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let before: Vec<&str> = text[..line]
        .lines()
        .rev()
        .map(str::trim_start)
        .take_while(|line| line.starts_with("#[") || line.starts_with("///"))
        .collect();
    let is = |attribute: &str| before.iter().any(|line| line.starts_with(attribute));
    if !is("#[test]") && !is("#[tokio::test") || is("#[ignore") {
        return None;
    }
    let indent = text[line..start].len() - text[line..start].trim_start().len();
    let end = format!("\n{}}}\n", &text[line..line + indent]);
    Some(&text[start..start + text[start..].find(&end)?])
}

/// A function of a suite, to the next thing that is not indented; `None` if it is not there or nobody calls it.
fn python_function<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.find(&format!("\ndef {name}("))? + 1;
    let is_called = text.lines().any(|line| line.starts_with(' ') && line.contains(&format!("{name}(")));
    let body = &text[start..];
    let is_end = |at: &usize| body[*at..].starts_with(|c: char| !c.is_whitespace());
    let end = body.match_indices('\n').map(|(at, _)| at + 1).find(is_end).unwrap_or(body.len());
    is_called.then_some(&body[..end])
}

/// Whether `word` stands in `text` and is no part of another one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

fn snake_case(json: &str) -> String {
    json.chars()
        .flat_map(|c| c.is_ascii_uppercase().then_some('_').into_iter().chain(c.to_lowercase()))
        .collect()
}

#[test]
fn a_proof_is_a_test_that_is_run() {
    let text = "#[test]\nfn good() {\n    let x = 1;\n}\n\n#[test]\n#[ignore]\nfn left_out() {\n}\n\nfn helper() {\n}\n\n\
        mod tests {\n    /// Why.\n    #[tokio::test]\n    async fn inner() {\n        y();\n    }\n}\n";
    assert_eq!(test_function(text, "good"), Some("fn good() {\n    let x = 1;"));
    assert_eq!(test_function(text, "inner"), Some("fn inner() {\n        y();"));
    for name in ["left_out", "helper", "none"] {
        assert_eq!(test_function(text, name), None, "{name}");
    }
    let text = "import x\n\n\ndef called(a):\n    b()\n\n    c()\n\n\ndef alone():\n    pass\n\n\ndef main():\n    called(1)\n";
    assert_eq!(python_function(text, "called"), Some("def called(a):\n    b()\n\n    c()\n\n\n"));
    assert_eq!(python_function(text, "alone"), None);
    assert!(has_word("job[\"epochs\"]", "epochs") && !has_word("total_epochs", "epochs"));
    assert_eq!(snake_case("batchSizeSamples"), "batch_size_samples");
}

fn document() -> String {
    let output: BTreeSet<String> =
        fields().into_iter().filter(|(_, is_output)| *is_output).map(|(name, _)| name).collect();
    let mut text = "# The fields of a job\n\n\
        What each field of a supervised fine-tuning job does here, and the tests that show it. Zero and empty mean \"not \
        given\"; the reply has every default filled in. This page is made of \
        `crates/server/tests/routes/job_fields/table.rs`, and a test fails when a field of the API has no row.\n\n\
        | field | written by | what it does | shown by |\n|---|---|---|---|\n"
        .to_owned();
    for row in FIELDS {
        let by = if output.contains(row.field) { "server" } else { "client" };
        let shown = |proof: &&str| {
            let (path, function) = proof.split_once("::").expect("a proof is path::function");
            format!("`{path}`, {function}")
        };
        let shown: Vec<String> = row.proofs.iter().map(shown).collect();
        text.push_str(&format!("| {} | {by} | {} | {} |\n", row.field, row.behaviour, shown.join("; ")));
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

//! Comments of the `.proto` files, as the descriptors carry them.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor};

/// The leading comment of every declaration that has one.
pub(super) struct Comments {
    /// By file, and by the path of the declaration in it.
    by_path: HashMap<(String, Vec<i32>), String>,
}

impl Comments {
    /// Of all files of the pool.
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let mut by_path = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            for location in info.into_iter().flat_map(|info| &info.location) {
                if let Some(comment) = &location.leading_comments {
                    by_path.insert((file.name().to_owned(), location.path.clone()), text(comment));
                }
            }
        }
        Self { by_path }
    }

    /// The comment of a field, or what fields of its name usually mean.
    pub(super) fn of_field(&self, field: &FieldDescriptor) -> &str {
        match self.of(&field.parent_file(), field.path()) {
            "" => usual(field.name()),
            own => own,
        }
    }

    /// The comment of the declaration at a path; empty if it has none.
    pub(super) fn of(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.by_path.get(&(file.name().to_owned(), path.to_vec())).map_or("", String::as_str)
    }
}

/// What fields mean that many messages have, where their file does not say it.
fn usual(field: &str) -> &'static str {
    match field {
        "name" => "Full name of the resource.",
        "display_name" => "A name for people.",
        "create_time" => "When it was made.",
        "update_time" => "When it was last changed.",
        "created_by" => "Address of who made it.",
        "status" => "What is wrong with it, or OK.",
        "total_size" => "Number of all resources that the filter lets through.",
        "next_page_token" => "`pageToken` of the next page; empty on the last.",
        "filename_to_signed_urls" => "File name to URL, which is good for an hour.",
        "page_size" => "Most resources of one page: 50 if it is not given, 200 at most.",
        "page_token" => "`nextPageToken` of the page before, with the same `filter` and `orderBy`.",
        "filter" => {
            "Which resources are listed, as AIP-160 has it: `state = READY AND createTime > \"2026-01-31T12:00:00Z\"`."
        }
        "order_by" => {
            "Names of fields divided by commas, each with ` desc` behind it for the reverse; `name` by default."
        }
        "read_mask" => "Fields of the resource that the answer has, divided by commas; all by default.",
        "update_mask" => "Fields that are changed, divided by commas.",
        _ => "",
    }
}

/// Lines of a paragraph joined, paragraphs divided by an empty line.
fn text(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
    paragraphs.map(|lines| lines.join(" ")).collect::<Vec<_>>().join("\n\n")
}

/// The first sentence, without its full stop.
pub(super) fn first_sentence(text: &str) -> &str {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    paragraph[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_sentences() {
        assert_eq!(text(" One\n line.\n\n Two.\n"), "One line.\n\nTwo.");
        assert_eq!(text(" One.\n \n Two.\n"), "One.\n\nTwo.");
        assert_eq!(first_sentence("Makes a job. It waits."), "Makes a job");
        assert_eq!(first_sentence("The bases; e.g. this"), "The bases; e.g");
        assert_eq!(first_sentence(""), "");
    }

    #[test]
    fn declarations_have_their_comments() {
        let pool = hearth_proto::descriptor_pool();
        let comments = Comments::new(&pool);
        let job = pool.get_message_by_name("gateway.SupervisedFineTuningJob").unwrap();
        let field = job.get_field_by_name("epochs").unwrap();
        assert_eq!(comments.of(&job.parent_file(), field.path()), "Passes over the dataset.");
        assert_eq!(comments.of(&job.parent_file(), &[99]), "");
    }
}

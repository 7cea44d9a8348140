//! Rows that are there more than once, and questions with several answers, found with 20 bytes a row, and 9 more where
//! evaluation data is compared.

use std::collections::BinaryHeap;

use super::identity::Identity;

const HASH_BYTES: usize = 6;
const NEAR: std::ops::Range<usize> = 0..HASH_BYTES;
const QUESTION: std::ops::Range<usize> = HASH_BYTES..2 * HASH_BYTES;
const EXACT: std::ops::Range<usize> = 2 * HASH_BYTES..17;
const ROW: std::ops::Range<usize> = 17..20;
/// A question's hash and the number of its row.
const QUESTION_BYTES: usize = HASH_BYTES + 3;
/// Rows that are remembered; those beyond are not compared.
pub(super) const MAX_REMEMBERED_ROWS: u32 = 1 << 24;

/// Hashes and the number of a row, the most significant bytes first. Rows whose 48 bits of `near` are the same are told
/// apart by 40 of `exact`: a dataset may be one row in millions of forms.
type Entry = [u8; 20];

/// How a row is like an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Like {
    Same,
    Near,
    OtherAnswer,
}

/// A row, the earlier one, and how they are alike.
pub(super) type Repeat = (u32, u32);

/// All rows of the dataset.
#[derive(Default)]
pub(super) struct Repeats {
    entries: Vec<Entry>,
    is_sorted: bool,
    /// Questions and their first rows, sorted; see [`Repeats::keep_questions`].
    questions: Vec<[u8; QUESTION_BYTES]>,
}

/// The first places of one kind, and how many there are.
#[derive(Default)]
pub(super) struct Places {
    heap: BinaryHeap<Repeat>,
    /// All of them.
    pub(super) count: u64,
}

impl Places {
    fn push(&mut self, repeat: Repeat, most: usize) {
        self.count += 1;
        self.heap.push(repeat);
        if self.heap.len() > most {
            self.heap.pop();
        }
    }

    /// In the order of rows.
    pub(super) fn into_vec(self) -> Vec<Repeat> {
        self.heap.into_sorted_vec()
    }
}

impl Repeats {
    pub(super) fn push(&mut self, row: u32, identity: Identity) {
        if row >= MAX_REMEMBERED_ROWS {
            return;
        }
        let mut entry = [0; 20];
        entry[NEAR].copy_from_slice(&identity.near.to_be_bytes()[..HASH_BYTES]);
        entry[QUESTION].copy_from_slice(&identity.question.unwrap_or_default().to_be_bytes()[..HASH_BYTES]);
        entry[EXACT].copy_from_slice(&identity.exact.to_be_bytes()[..EXACT.len()]);
        entry[ROW].copy_from_slice(&row.to_be_bytes()[1..]);
        self.entries.push(entry);
        self.is_sorted = false;
    }

    /// Looks for all of them; at most `most` places of each kind are kept.
    pub(super) fn find(&mut self, most: usize) -> [(Like, Places); 3] {
        let (mut same, mut near, mut other) = (Places::default(), Places::default(), Places::default());
        self.entries.sort_unstable_by(|a, b| (&a[QUESTION], &a[ROW]).cmp(&(&b[QUESTION], &b[ROW])));
        for group in self.entries.chunk_by(|a, b| a[QUESTION] == b[QUESTION]) {
            let first = &group[0];
            if first[QUESTION].iter().all(|byte| *byte == 0) {
                continue;
            }
            // What is the same or nearly the same is told as that.
            for entry in group[1..].iter().filter(|entry| entry[NEAR] != first[NEAR]) {
                other.push((row(entry), row(first)), most);
            }
        }
        self.sort();
        for group in self.entries.chunk_by(|a, b| a[NEAR] == b[NEAR]) {
            let first = group.iter().map(row).min().expect("a group has rows");
            for alike in group.chunk_by(|a, b| a[EXACT] == b[EXACT]) {
                let first_alike = row(&alike[0]);
                if first_alike != first {
                    near.push((first_alike, first), most);
                }
                for entry in &alike[1..] {
                    same.push((row(entry), first_alike), most);
                }
            }
        }
        [(Like::Same, same), (Like::Near, near), (Like::OtherAnswer, other)]
    }

    /// The first row that is the same as this one, or else one that is nearly the same, or else the first that has its
    /// question. [`Repeats::find`] comes first.
    pub(super) fn look_up(&self, identity: Identity) -> Option<(u32, Like)> {
        debug_assert!(self.is_sorted);
        let near = &identity.near.to_be_bytes()[..HASH_BYTES];
        let exact = &identity.exact.to_be_bytes()[..EXACT.len()];
        let at = self.entries.partition_point(|entry| (&entry[NEAR], &entry[EXACT]) < (near, exact));
        if let Some(found) =
            self.entries.get(at).filter(|entry| (&entry[NEAR], &entry[EXACT]) == (near, exact))
        {
            return Some((row(found), Like::Same));
        }
        let start = self.entries.partition_point(|entry| &entry[NEAR] < near);
        if let Some(found) = self.entries.get(start).filter(|entry| &entry[NEAR] == near) {
            return Some((row(found), Like::Near));
        }
        let question = &identity.question?.to_be_bytes()[..HASH_BYTES];
        let at = self.questions.partition_point(|entry| &entry[..HASH_BYTES] < question);
        let found = self.questions.get(at).filter(|entry| &entry[..HASH_BYTES] == question)?;
        Some((row_of(&found[HASH_BYTES..]), Like::OtherAnswer))
    }

    /// From now on, [`Repeats::look_up`] finds questions too.
    pub(super) fn keep_questions(&mut self) {
        let with_question = self.entries.iter().filter(|entry| entry[QUESTION].iter().any(|byte| *byte != 0));
        let mut questions: Vec<[u8; QUESTION_BYTES]> = Vec::with_capacity(with_question.clone().count());
        questions.extend(with_question.map(|entry| {
            let mut question = [0; QUESTION_BYTES];
            question[..HASH_BYTES].copy_from_slice(&entry[QUESTION]);
            question[HASH_BYTES..].copy_from_slice(&entry[ROW]);
            question
        }));
        questions.sort_unstable();
        questions.dedup_by(|later, first| later[..HASH_BYTES] == first[..HASH_BYTES]);
        self.questions = questions;
    }

    fn sort(&mut self) {
        self.entries
            .sort_unstable_by(|a, b| (&a[NEAR], &a[EXACT], &a[ROW]).cmp(&(&b[NEAR], &b[EXACT], &b[ROW])));
        self.is_sorted = true;
    }
}

fn row(entry: &Entry) -> u32 {
    row_of(&entry[ROW])
}

fn row_of(bytes: &[u8]) -> u32 {
    let &[a, b, c] = bytes else { unreachable!("a row has three bytes") };
    u32::from_be_bytes([0, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(near: u64, exact: u64, question: Option<u64>) -> Identity {
        let high = |hash: u64| hash << 40;
        Identity { near: high(near), exact: high(exact), question: question.map(high) }
    }

    #[test]
    fn repeats_are_found_and_kept_up_to_a_limit() {
        let mut repeats = Repeats::default();
        repeats.push(0, identity(1, 1, Some(5)));
        repeats.push(1, identity(2, 2, None));
        repeats.push(2, identity(1, 1, Some(5)));
        repeats.push(3, identity(1, 3, Some(6)));
        repeats.push(4, identity(4, 4, Some(5)));
        repeats.push(5, identity(1, 3, None));
        repeats.push(6, identity(1, 1, None));
        let found = repeats.find(2).map(|(like, places)| (like, places.count, places.into_vec()));
        let expect = [
            (Like::Same, 3, vec![(2, 0), (5, 3)]),
            (Like::Near, 1, vec![(3, 0)]),
            (Like::OtherAnswer, 1, vec![(4, 0)]),
        ];
        assert_eq!(found, expect);
        assert_eq!(repeats.look_up(identity(1, 3, None)), Some((3, Like::Same)));
        assert_eq!(repeats.look_up(identity(1, 9, None)), Some((0, Like::Near)));
        assert_eq!(repeats.look_up(identity(3, 3, None)), None);
        assert_eq!(repeats.look_up(identity(9, 9, None)), None);
        assert_eq!(repeats.look_up(identity(9, 9, Some(5))), None);
        repeats.keep_questions();
        assert_eq!(repeats.look_up(identity(9, 9, Some(5))), Some((0, Like::OtherAnswer)));
        assert_eq!(repeats.look_up(identity(9, 9, Some(7))), None);
    }
}

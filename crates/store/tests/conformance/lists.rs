//! Pages of lists.

use hearth_domain::{AccountId, Code};
use hearth_store::{Condition, ListQuery, Listed, Order};

use super::{acme, code, dataset, open};

#[tokio::test]
async fn pages_cover_a_list_once_and_tokens_are_bound_to_it() {
    let (_dir, store) = open().await;
    for (id, time) in [("b", 3), ("a", 3), ("d", 1), ("c", 2), ("e", 3)] {
        store.dataset_create(&dataset(id, time)).await.unwrap();
    }
    let mut other = dataset("x", 1);
    other.account = AccountId::new("other").unwrap();
    store.dataset_create(&other).await.unwrap();

    let by_name = vec![Order::Id { descending: true }];
    let by_time = |descending| {
        let column = Listed::Dataset.column("create_time").unwrap();
        vec![Order::By { column, descending }]
    };
    for (order, expect) in
        [(vec![], "abcde"), (by_name.clone(), "edcba"), (by_time(false), "dcabe"), (by_time(true), "ebacd")]
    {
        for page_size in 1..=6 {
            let mut seen = String::new();
            let mut query = ListQuery { page_size, order: order.clone(), ..Default::default() };
            loop {
                let page = store.dataset_list(&acme(), &query).await.unwrap();
                assert_eq!(page.total_size, 5);
                assert!(page.items.len() <= page_size as usize);
                seen.extend(page.items.iter().map(|dataset| dataset.id.as_str()));
                query.page_token = page.next_page_token;
                if query.page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, expect, "{order:?} by {page_size}");
        }
    }

    let first = ListQuery { page_size: 2, ..Default::default() };
    let page_token = store.dataset_list(&acme(), &first).await.unwrap().next_page_token;
    let next = ListQuery { page_token, ..first.clone() };
    let sorted = ListQuery { order: by_name, ..next.clone() };
    let filtered = ListQuery { filter: Condition::Not(Box::new(Condition::Always(false))), ..next.clone() };
    let junk = ListQuery { page_token: "junk!".to_owned(), ..first };
    assert_eq!(code(store.dataset_list(&other.account, &next).await), Code::InvalidArgument);
    assert_eq!(code(store.dataset_list(&acme(), &sorted).await), Code::InvalidArgument);
    assert_eq!(code(store.dataset_list(&acme(), &filtered).await), Code::InvalidArgument);
    assert_eq!(code(store.model_list(&acme(), &next).await), Code::InvalidArgument);
    assert_eq!(code(store.dataset_list(&acme(), &junk).await), Code::InvalidArgument);
    let below = ListQuery { page_size: -1, ..Default::default() };
    assert_eq!(code(store.dataset_list(&acme(), &below).await), Code::InvalidArgument);
    let huge = ListQuery { page_size: i32::MAX, ..Default::default() };
    assert_eq!(store.dataset_list(&acme(), &huge).await.unwrap().items.len(), 5);
}

#[tokio::test]
async fn a_page_token_survives_insertions_and_deletions() {
    let (_dir, store) = open().await;
    for id in ["a", "c", "e"] {
        store.dataset_create(&dataset(id, 1)).await.unwrap();
    }
    let query = ListQuery { page_size: 2, ..Default::default() };
    let page_token = store.dataset_list(&acme(), &query).await.unwrap().next_page_token;
    store.dataset_delete(&dataset("c", 1).name()).await.unwrap();
    store.dataset_create(&dataset("b", 1)).await.unwrap();
    store.dataset_create(&dataset("d", 1)).await.unwrap();
    let next = store.dataset_list(&acme(), &ListQuery { page_token, ..query }).await.unwrap();
    let ids: Vec<_> = next.items.iter().map(|dataset| dataset.id.as_str()).collect();
    assert_eq!(ids, ["d", "e"]);
}

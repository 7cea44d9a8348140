//! Files of datasets, and the URLs that open them.

use bytes::Bytes;
use futures::stream;
use hearth_domain::{Code, Dataset, DatasetFile, DatasetId, DatasetRef};
use hearth_store::{ObjectKey, SizeRule, Store, StoreError, UrlSigner};

use super::{acme, code, dataset, open};

fn pieces(
    list: &[&'static str],
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Unpin + use<> {
    stream::iter(list.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
}

async fn read(store: &Store, key: &ObjectKey) -> Result<String, StoreError> {
    let found = store.objects().get(key).await?;
    let bytes: Vec<u8> =
        futures::TryStreamExt::try_concat(futures::TryStreamExt::map_ok(found.stream, |b| b.to_vec()))
            .await?;
    assert_eq!(bytes.len() as u64, found.size_bytes);
    Ok(String::from_utf8(bytes).unwrap())
}

fn files_under(dir: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files_under(&p) } else { 1 }).sum()
}

#[tokio::test]
async fn uploads_are_whole_or_absent() {
    let (dir, store) = open().await;
    let name = dataset("rows", 1).name();
    let key = ObjectKey::dataset_file(&name, "my rows é.jsonl").unwrap();
    let objects = store.objects();

    let broken = stream::iter(vec![Ok(Bytes::from_static(b"{}")), Err(std::io::Error::other("gone"))]);
    assert_eq!(code(objects.put(&key, SizeRule::AtMost(10), broken).await), Code::Cancelled);
    assert_eq!(
        code(objects.put(&key, SizeRule::AtMost(3), pieces(&["ab", "cd"])).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(objects.put(&key, SizeRule::Exactly(5), pieces(&["ab", "cd"])).await),
        Code::InvalidArgument
    );
    assert_eq!(code(read(&store, &key).await), Code::NotFound);
    assert_eq!(files_under(&dir.path().join("objects")), 0, "a failed upload leaves something behind");

    let put = objects.put(&key, SizeRule::Exactly(4), pieces(&["ab", "cd"])).await.unwrap();
    let sha256_of_abcd = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589";
    assert_eq!((put.size_bytes, put.sha256.as_str()), (4, sha256_of_abcd));
    assert_eq!(read(&store, &key).await.unwrap(), "abcd");
    assert_eq!(std::fs::read(objects.local_path(&key).unwrap()).unwrap(), b"abcd");
    // A failed second upload leaves the first one.
    objects.put(&key, SizeRule::AtMost(3), pieces(&["abcd"])).await.unwrap_err();
    assert_eq!(read(&store, &key).await.unwrap(), "abcd");

    objects.delete_dataset(&name).await.unwrap();
    assert_eq!(code(read(&store, &key).await), Code::NotFound);
}

/// A dataset with one file of these bytes, which stands staged.
fn whole(staging: &mut hearth_store::Staging, id: &str, bytes: &[u8]) -> hearth_store::NewDataset {
    let mut file = staging.create().unwrap();
    file.write(bytes).unwrap();
    let file = file.finish().unwrap();
    let outcome = file.outcome().clone();
    let stored = DatasetFile::stored("a.jsonl", outcome.size_bytes, outcome.sha256);
    let dataset = Dataset { files: vec![stored], ..dataset(id, 1) };
    hearth_store::NewDataset { dataset, files: vec![file] }
}

#[tokio::test]
async fn datasets_come_with_their_files_or_not_at_all() {
    let (dir, store) = open().await;
    let objects = dir.path().join("objects");
    let mut staging = store.objects().staging().unwrap();
    let new = ["a", "b"].map(|id| whole(&mut staging, id, id.as_bytes())).into();
    store.dataset_create_whole(new, staging).await.unwrap();
    assert_eq!(files_under(&objects), 2);
    let key = ObjectKey::dataset_file(&dataset("b", 1).name(), "a.jsonl").unwrap();
    assert_eq!(read(&store, &key).await.unwrap(), "b");
    // One name that is taken keeps all of them out.
    let mut staging = store.objects().staging().unwrap();
    let new = ["c", "b", "d"].map(|id| whole(&mut staging, id, b"x")).into();
    assert_eq!(code(store.dataset_create_whole(new, staging).await), Code::AlreadyExists);
    assert_eq!(files_under(&objects), 2);
    assert_eq!(read(&store, &key).await.unwrap(), "b");
    // What a dead server left, staged or moved in without a record, goes at the next start.
    let mut staging = store.objects().staging().unwrap();
    let left = whole(&mut staging, "left", b"x");
    std::mem::forget(staging);
    let place = ObjectKey::dataset_file(&left.dataset.name(), "a.jsonl").unwrap();
    let place = store.objects().local_path(&place).unwrap();
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, b"x").unwrap();
    assert_eq!(files_under(&objects), 4);
    store.dataset_sweep().await.unwrap();
    assert_eq!(files_under(&objects), 2);
}

#[test]
fn object_names_stay_inside() {
    let name = DatasetRef { account: acme(), id: DatasetId::new("rows").unwrap() };
    for wrong in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", &"x".repeat(201)] {
        assert_eq!(code(ObjectKey::dataset_file(&name, wrong)), Code::InvalidArgument, "{wrong:?}");
    }
}

#[tokio::test]
async fn signed_urls_say_expired_or_altered() {
    let (dir, store) = open().await;
    let path = "/files/accounts/acme/datasets/rows/a.jsonl";
    let query = store.signer().sign("PUT", path, "size=4", 1000);
    let (expires, signature) = query.split_once("&signature=").unwrap();
    assert_eq!(expires, "expires=1000");
    // A server that starts again on the same directory has the same key.
    let signer = UrlSigner::open(&dir.path().join("signing-key")).unwrap();
    let check = |method, path, extra, expires_ms, signature: &str, now_ms| match signer
        .check(method, path, extra, expires_ms, signature, now_ms)
    {
        Ok(()) => "ok",
        Err(StoreError::UrlExpired) => "expired",
        Err(StoreError::UrlAltered) => "altered",
        Err(_) => "other",
    };
    assert_eq!(check("PUT", path, "size=4", 1000, signature, 999), "ok");
    assert_eq!(check("PUT", path, "size=4", 1000, signature, 1000), "expired");
    assert_eq!(check("GET", path, "size=4", 1000, signature, 999), "altered");
    assert_eq!(check("PUT", "/files/x", "size=4", 1000, signature, 999), "altered");
    assert_eq!(check("PUT", path, "size=5", 1000, signature, 999), "altered");
    assert_eq!(check("PUT", path, "size=4", 2000, signature, 999), "altered");
    assert_eq!(check("PUT", path, "size=4", 1000, &signature[2..], 999), "altered");
    assert_eq!(check("PUT", path, "size=4", 1000, "nothex", 999), "altered");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir.path().join("signing-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

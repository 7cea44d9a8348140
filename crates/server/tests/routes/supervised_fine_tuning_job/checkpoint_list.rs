//! `GET .../supervisedFineTuningJobs/{job}/checkpoints`.

use serde_json::{Value, json};

use super::checkpoints::{begin, finish, save, server};
use super::{JOBS, create};

#[test]
fn it_lists_what_the_run_holds() {
    let server = server();
    let run = begin(&server, "j");
    // Of a job that waits there is nothing.
    create(&server, "waits");
    let empty = json!({"checkpoints": [], "nextPageToken": "", "totalSize": 0});
    assert_eq!(server.get(&format!("{JOBS}/waits/checkpoints")).ok(), empty);
    assert_eq!(server.get(&format!("{JOBS}/j/checkpoints")).ok(), empty);
    assert_eq!(server.get(&format!("{JOBS}/none/checkpoints")).error().1, 5);

    for step in [0, 20, 40] {
        save(&run, step);
    }
    std::fs::create_dir(run.join("checkpoints/.unfinished-step-00000060")).unwrap();
    let shown = |reply: &Value| -> Vec<Value> {
        let list = reply["checkpoints"].as_array().unwrap().iter();
        list.map(|one| {
            assert!(one["createTime"].as_str().unwrap().starts_with("20"), "{one}");
            let name = one["name"].as_str().unwrap();
            let id = name.strip_prefix("accounts/default/supervisedFineTuningJobs/j/checkpoints/").unwrap();
            json!([id, one["checkpointType"], one["promotable"], one["step"]])
        })
        .collect()
    };
    let training = "CHECKPOINT_TYPE_TRAINING_LORA";
    let mut expect = vec![
        json!(["step-00000000", training, false, "0"]),
        json!(["step-00000020", training, true, "20"]),
        json!(["step-00000040", training, true, "40"]),
    ];
    assert_eq!(shown(&server.get(&format!("{JOBS}/j/checkpoints")).ok()), expect);
    finish(&server, &run, "j");
    expect.push(json!(["final", "CHECKPOINT_TYPE_INFERENCE_LORA", true, "40"]));
    let all = server.get(&format!("{JOBS}/j/checkpoints?pageSize=200")).ok();
    assert_eq!((shown(&all), &all["totalSize"]), (expect.clone(), &json!(4)));

    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{JOBS}/j/checkpoints?pageSize=3&pageToken={token}")).ok();
        pages.extend(shown(&page));
        assert_eq!(page["totalSize"], 4);
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        // A token belongs to its job.
        let other = server.get(&format!("{JOBS}/waits/checkpoints?pageToken={token}"));
        assert_eq!(other.error().1, 3);
    }
    assert_eq!(pages, expect);
    for wrong in ["pageSize=-1", "pageToken=x", "pageToken=%20"] {
        assert_eq!(server.get(&format!("{JOBS}/j/checkpoints?{wrong}")).error().1, 3, "{wrong}");
    }
}

//! What counts as a difference, and what is done about it.

use super::*;
use crate::deploy::resources;
use serde_json::json;

fn changed(there: Value, ours: Value) -> Vec<String> {
    differences(&there, &ours).iter().map(|c| format!("{}: {} -> {}", c.field, c.old, c.new)).collect()
}

#[test]
fn defaults_that_json_leaves_out_are_no_difference() {
    assert!(changed(json!({}), json!({"cpuIdle": false, "n": 0, "list": [], "text": "", "duration": "0s"})).is_empty());
    assert!(changed(json!({"n": "42", "x": 1.0}), json!({"n": 42, "x": 1})).is_empty(), "64-bit numbers are texts");
    assert!(changed(json!({"others": 1, "labels": {"team": "x", "a": "b"}}), json!({"labels": {"a": "b"}})).is_empty());
}

#[test]
fn a_difference_names_its_field_and_both_values() {
    let there =
        json!({"ackDeadlineSeconds": 10, "retryPolicy": {"minimumBackoff": "1s"}, "list": [{"a": 1}, {"a": 2}]});
    let ours = json!({"ackDeadlineSeconds": 60, "retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "600s"}, "list": [{"a": 1}, {"a": 3}]});
    let expected = ["ackDeadlineSeconds: 10 -> 60", "retryPolicy.maximumBackoff: not set -> 600s", "list[1].a: 2 -> 3"];
    assert_eq!(changed(there, ours), expected);
    assert_eq!(changed(json!({"a": [1, 2]}), json!({"a": [1]})), ["a: [1,2] -> [1]"]);
    assert_eq!(changed(json!({"a": "1"}), json!({"a": "2"})), ["a: 1 -> 2"]);
}

#[test]
fn a_subscription_that_would_expire_differs_from_one_that_never_does() {
    let never = json!({"expirationPolicy": {"ttl": null}});
    assert!(changed(json!({"expirationPolicy": {}}), never.clone()).is_empty());
    assert_eq!(
        changed(json!({"expirationPolicy": {"ttl": "2678400s"}}), never),
        ["expirationPolicy.ttl: 2678400s -> not set"]
    );
}

#[test]
fn a_change_keeps_what_others_set_in_the_same_field() {
    let plan = crate::deploy::plan::tests::shipped();
    let sub = resources::resources(&plan).into_iter().find(|r| r.name == "phase6-export").unwrap();
    let mut there = sub.fields.clone();
    there["labels"] = json!({"team": "x", "managed-by": "someone"});
    let fields: Vec<String> = differences(&there, &sub.fields).iter().map(|c| top(&c.field).to_owned()).collect();
    assert_eq!(fields, ["labels", "labels"]);
    let call = resources::change(&plan, &sub, &there, &fields[..1]);
    let labels = json!({"team": "x", "managed-by": "phase6", "deployment": "phase6-gcp"});
    assert_eq!(call.body.unwrap()["subscription"]["labels"], labels);
}

//! Orders that should be carried out, and every order that should not.

use nexplane_agent::host::Mode;
use nexplane_agent::runner::Runner;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{
    Authority, Envelope, Job, JobEvent, JobResult, Order, Receipt, RefusalCode,
};
use nexplane_core::plan::Step;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::rig::{HOST, Rig, authority, motd, path, refusal};

const CONTENT: &str = "host.set_file_content";
const PERMISSION: &str = "host.set_file_permission";

fn content(rig: &Rig) -> String {
    let view = rig.host.read(&path("/etc/motd"), 1000).unwrap().unwrap();
    String::from_utf8(view.content).unwrap()
}

#[test]
fn an_approved_change_is_applied_recorded_and_undone() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let job = rig.job(1, rig.apply_order(CONTENT, &motd("new\n")));
    let mut heard = Vec::new();
    let envelope = rig.sign(&job);
    runner
        .handle(&envelope, &mut |id, event| {
            assert_eq!(id, job.id);
            heard.push(match event {
                JobEvent::Received { .. } => "received",
                JobEvent::Intent { .. } => "intent",
                JobEvent::Result { .. } => "result",
            });
        })
        .unwrap();
    assert_eq!(heard, ["received", "intent"]);
    assert_eq!(content(&rig), "new\n");
    let receipt = rig.deliver(&mut runner, &envelope).unwrap();
    let JobResult::Applied { changed, before_fingerprint, after_fingerprint, observed, .. } =
        &receipt.result
    else {
        panic!("{receipt:?}");
    };
    assert!(changed);
    assert_ne!(before_fingerprint, after_fingerprint);
    assert!(observed.iter().any(|field| field.name == "size" && field.value == json!(4)));

    let undo = rig.job(2, rig.revert_order(CONTENT, &motd("new\n"), job.id));
    let JobResult::Reverted { after_fingerprint, .. } = rig.run(&mut runner, &undo) else {
        panic!("not reverted");
    };
    assert_eq!(&after_fingerprint, before_fingerprint);
    assert_eq!(content(&rig), "hello\n");
    // A revert is an effect like any other, and can be undone too.
    assert_eq!(rig.snapshot_files().len(), 2);
}

#[test]
fn the_same_order_twice_has_one_effect_and_one_receipt() {
    let (rig, fake) = Rig::fake();
    let mut runner = rig.start();
    let envelope = rig.sign(&rig.job(1, rig.apply_order(CONTENT, &motd("new\n"))));
    let first = runner.handle(&envelope, &mut |_, _| {}).unwrap();
    fake.put_file(&path("/etc/motd"), b"moved on\n", Mode::from_bits(0o644));
    for _ in 0..2 {
        assert_eq!(runner.handle(&envelope, &mut |_, _| {}).unwrap(), first);
        runner = {
            drop(runner);
            rig.start()
        };
    }
    assert_eq!(content(&rig), "moved on\n");
    assert_eq!(runner.journal().receipt_head().0, 1);
}

#[test]
fn reading_needs_a_signature_but_no_approval() {
    let (rig, fake) = Rig::fake();
    let before = fake.nodes();
    let mut runner = rig.start();
    let parameters = motd("new\n");
    let named = |kind: &str| -> Order {
        serde_json::from_value(json!({
            "kind": kind, "operation": CONTENT, "target": "web-1", "parameters": parameters,
        }))
        .unwrap()
    };
    let JobResult::Inspected { checks, diff, summary, rollback, .. } =
        rig.run(&mut runner, &rig.job(1, named("inspect")))
    else {
        panic!("not inspected");
    };
    assert!(checks.iter().all(|check| check.ok) && !diff.is_empty());
    assert!(summary.contains("web-1") && !rollback.is_empty());
    let verified = rig.run(&mut runner, &rig.job(2, named("verify")));
    assert!(matches!(verified, JobResult::Verified { satisfied: false, .. }));
    let facts = rig.run(&mut runner, &rig.job(3, Order::CollectFacts));
    let JobResult::Facts { facts } = facts else { panic!("no facts") };
    assert_eq!(facts.accounts.len(), 4);
    let mut unsigned = rig.sign(&rig.job(4, Order::CollectFacts));
    unsigned.signature = String::new();
    let answer = rig.deliver(&mut runner, &unsigned).unwrap();
    assert_eq!(refusal(&answer.result), RefusalCode::BadSignature);
    assert_eq!(fake.nodes(), before);
}

#[test]
fn inspecting_what_cannot_be_done_says_why() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let cases = [
        (PERMISSION, json!({ "path": "/etc/none", "mode": "0640" }), "does not exist"),
        (CONTENT, json!({ "path": "/etc/sudoers", "content": "" }), "root"),
        (CONTENT, json!({ "path": "/no/x", "content": "" }), "create it first"),
    ];
    for (seq, (operation, parameters, why)) in (1..).zip(cases) {
        let order = Order::Inspect { operation: operation.into(), target: "h".into(), parameters };
        let JobResult::Inspected { checks, .. } = rig.run(&mut runner, &rig.job(seq, order)) else {
            panic!("not inspected");
        };
        let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        assert!(failed.iter().any(|check| check.detail.contains(why)), "{failed:?}");
    }
    let parameters = json!({ "path": "/etc/none", "mode": "0640" });
    let (operation, target) = (PERMISSION.to_owned(), "h".to_owned());
    let order = Order::Verify { operation, target, parameters, prepared: None, undoes: None };
    let verified = rig.run(&mut runner, &rig.job(9, order));
    assert!(matches!(verified, JobResult::Verified { satisfied: false, .. }), "{verified:?}");
}

/// One way to attack: what is delivered, and the refusal that must come of it.
type Attack = (&'static str, RefusalCode, fn(&Rig, &mut Job) -> Option<Envelope>);

fn apply(job: &mut Job) -> (&mut Step, &mut Authority) {
    match &mut job.order {
        Order::Apply { step, authority, .. } => (step, authority),
        other => panic!("{other:?}"),
    }
}

/// The step changed and the plan made anew, as a dispatcher that lies about approvals would.
fn replan(job: &mut Job, change: impl Fn(&mut Step)) {
    let (step, approved) = apply(job);
    change(step);
    *approved = authority(step, &approved.precondition);
}

const ATTACKS: &[Attack] = &[
    ("for another host", RefusalCode::WrongHost, |_, job| {
        job.host = HostId(Uuid::from_u128(99));
        None
    }),
    ("signature altered", RefusalCode::BadSignature, |rig, job| {
        let mut envelope = rig.sign(job);
        let flipped = if envelope.signature.starts_with('A') { "B" } else { "A" };
        envelope.signature.replace_range(0..1, flipped);
        Some(envelope)
    }),
    ("signature is no base64", RefusalCode::BadSignature, |rig, job| {
        Some(Envelope { signature: "!".into(), ..rig.sign(job) })
    }),
    ("key that is not pinned", RefusalCode::BadSignature, |rig, job| {
        Some(Envelope { key_id: "d2".into(), ..rig.sign(job) })
    }),
    ("payload altered", RefusalCode::BadSignature, |rig, job| {
        let envelope = rig.sign(job);
        Some(Envelope { payload: envelope.payload.replace("new", "bad"), ..envelope })
    }),
    ("payload with other white space", RefusalCode::BadSignature, |rig, job| {
        let envelope = rig.sign(job);
        Some(Envelope { payload: format!("{} ", envelope.payload), ..envelope })
    }),
    ("sequence number used before", RefusalCode::Replayed, |_, job| {
        job.seq = 1;
        None
    }),
    ("job id used before", RefusalCode::Replayed, |rig, job| {
        job.id = rig.job(1, Order::CollectFacts).id;
        None
    }),
    ("expired", RefusalCode::Expired, |rig, job| {
        job.not_after = rig.now;
        None
    }),
    ("not yet valid", RefusalCode::NotYetValid, |rig, job| {
        job.not_before = rig.now.plus_seconds(1);
        None
    }),
    ("parameters not as approved", RefusalCode::PlanMismatch, |_, job| {
        apply(job).0.parameters = motd("bad");
        None
    }),
    ("operation not as approved", RefusalCode::PlanMismatch, |_, job| {
        apply(job).0.action = PERMISSION.into();
        None
    }),
    ("step number not as approved", RefusalCode::PlanMismatch, |_, job| {
        apply(job).0.no = 1;
        None
    }),
    ("digest of another plan", RefusalCode::PlanMismatch, |_, job| {
        apply(job).1.plan_digest = "00".repeat(32);
        None
    }),
    ("approved for another host", RefusalCode::PlanMismatch, |_, job| {
        replan(job, |step| step.target.external_key = "web-2".into());
        None
    }),
    ("approved for another kind of target", RefusalCode::PlanMismatch, |_, job| {
        replan(job, |step| step.target.kind = "ssh_host".into());
        None
    }),
    ("unknown operation", RefusalCode::UnknownOperation, |_, job| {
        replan(job, |step| step.action = "host.run_shell".into());
        None
    }),
    ("unknown parameter", RefusalCode::InvalidParameters, |_, job| {
        replan(job, |step| step.parameters["command"] = json!("id"));
        None
    }),
    ("path that leaves the root", RefusalCode::InvalidParameters, |_, job| {
        replan(job, |step| step.parameters["path"] = json!("/etc/../../etc/motd"));
        None
    }),
    ("something prepared that it does not take", RefusalCode::InvalidParameters, |_, job| {
        if let Order::Apply { prepared, .. } = &mut job.order {
            *prepared = crate::rig::prepared("host.rotate_local_password");
        }
        None
    }),
    ("denied path", RefusalCode::NoSnapshot, |_, job| {
        replan(job, |step| step.parameters["path"] = json!("/etc/sudoers"));
        None
    }),
    ("host owner's hold", RefusalCode::LocalPolicy, |rig, _| {
        rig.write_policy("hold = true");
        None
    }),
    ("operation the owner does not allow", RefusalCode::LocalPolicy, |rig, _| {
        rig.write_policy("operations = []");
        None
    }),
    ("path the owner does not allow", RefusalCode::LocalPolicy, |rig, _| {
        rig.write_policy("paths = [\"/srv\"]");
        None
    }),
    (
        "what names no file, where the owner allows some paths",
        RefusalCode::LocalPolicy,
        |rig, job| {
            rig.write_policy("paths = [\"/etc\", \"/var\"]");
            replan(job, |step| {
                step.action = "host.install_package".into();
                step.parameters = json!({ "name": "rsync" });
            });
            None
        },
    ),
    ("fewer approvals than the owner asks for", RefusalCode::LocalPolicy, |rig, _| {
        rig.write_policy("approvers = 2");
        None
    }),
    ("policy that is not understood", RefusalCode::LocalPolicy, |rig, _| {
        rig.write_policy("allow everything");
        None
    }),
    ("target that moved", RefusalCode::Drift, |rig, _| {
        let file = path("/etc/motd");
        let meta = rig.host.stat(&file).unwrap();
        let ids = rig.host.own_ids();
        rig.host.write(&file, meta.as_ref(), b"moved", Mode::from_bits(0o644), ids).unwrap();
        None
    }),
    ("another precondition", RefusalCode::Drift, |_, job| {
        apply(job).1.precondition = "11".repeat(32);
        None
    }),
];

#[test]
fn every_attack_is_refused_and_changes_nothing() {
    for (name, expected, attack) in ATTACKS {
        let (rig, fake) = Rig::fake();
        let mut runner = rig.start();
        rig.run(&mut runner, &rig.job(1, Order::CollectFacts));
        let mut job = rig.job(2, rig.apply_order(CONTENT, &motd("new\n")));
        let envelope = attack(&rig, &mut job).unwrap_or_else(|| rig.sign(&job));
        let before = fake.nodes();
        let receipt = rig.deliver(&mut runner, &envelope).unwrap();
        assert_eq!(refusal(&receipt.result), *expected, "{name}: {receipt:?}");
        assert_eq!(fake.nodes(), before, "{name}");
        assert!(rig.snapshot_files().is_empty(), "{name}");
        assert!(runner.journal().unfinished().is_empty(), "{name}");
        // What is not even authentic leaves no trace in what the agent knows of jobs.
        let untrusted = matches!(
            expected,
            RefusalCode::WrongHost | RefusalCode::BadSignature | RefusalCode::Replayed
        );
        assert_eq!(runner.journal().high_water(), if untrusted { 1 } else { 2 }, "{name}");
        let counted = if untrusted { vec![(*expected, 1)] } else { Vec::new() };
        assert_eq!(distrusted(&mut runner), counted, "{name}");
    }
}

/// What the agent tells of orders that it did not take for the control plane's.
fn distrusted(runner: &mut Runner) -> Vec<(RefusalCode, u64)> {
    let told = runner.distrusted().unwrap().into_iter();
    told.map(|distrusted| (distrusted.code, distrusted.total)).collect()
}

#[test]
fn orders_of_somebody_else_are_counted_for_good_and_do_not_fill_the_disk() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let real = rig.sign(&rig.job(1, rig.apply_order(CONTENT, &motd("new\n"))));
    let forged = Envelope { signature: "AAAA".into(), ..real.clone() };
    let answered = (0..500).filter(|_| rig.deliver(&mut runner, &forged).is_some()).count();
    assert_eq!(answered, 60, "receipts in an hour");
    let garbage = Envelope { payload: "{}".into(), ..real.clone() };
    assert!(rig.deliver(&mut runner, &garbage).is_none());
    let expected = [(RefusalCode::BadSignature, 500), (RefusalCode::Unreadable, 1)];
    assert_eq!(distrusted(&mut runner), expected);
    let lines = std::fs::read_to_string(rig.journal_path()).unwrap().lines().count();
    assert!(lines < 70, "{lines}");
    drop(runner);
    let mut runner = rig.start();
    assert_eq!(distrusted(&mut runner), expected);
    let receipt = rig.deliver(&mut runner, &real).unwrap();
    assert!(matches!(receipt.result, JobResult::Applied { .. }), "{receipt:?}");
}

#[test]
fn an_order_whose_answer_is_there_is_a_replay_and_has_the_same_answer() {
    let (rig, fake) = Rig::fake();
    let mut runner = rig.start();
    let job = rig.job(1, rig.apply_order(CONTENT, &motd("new\n")));
    let envelope = rig.sign(&job);
    let first = rig.deliver(&mut runner, &envelope).unwrap();
    assert_eq!(rig.deliver(&mut runner, &envelope).unwrap(), first);
    assert!(distrusted(&mut runner).is_empty(), "the answer may have been lost");
    runner.reported(job.id, first.number).unwrap();
    fake.put_file(&path("/etc/motd"), b"moved on\n", Mode::from_bits(0o644));
    assert_eq!(rig.deliver(&mut runner, &envelope).unwrap(), first);
    assert_eq!(content(&rig), "moved on\n");
    assert_eq!(distrusted(&mut runner), [(RefusalCode::Replayed, 1)]);
}

#[test]
fn a_forged_order_does_not_spoil_the_real_one() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let real = rig.sign(&rig.job(1, rig.apply_order(CONTENT, &motd("new\n"))));
    let forged = Envelope { signature: "AAAA".into(), ..real.clone() };
    rig.deliver(&mut runner, &forged).unwrap();
    let receipt = rig.deliver(&mut runner, &real).unwrap();
    assert!(matches!(receipt.result, JobResult::Applied { .. }));
    let garbage = Envelope { payload: "{}".into(), ..real };
    assert!(rig.deliver(&mut runner, &garbage).is_none());
}

#[test]
fn a_refusal_that_was_signed_for_is_final() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    rig.write_policy("hold = true");
    let envelope = rig.sign(&rig.job(1, rig.apply_order(CONTENT, &motd("new\n"))));
    let first = rig.deliver(&mut runner, &envelope).unwrap();
    rig.write_policy("");
    assert_eq!(rig.deliver(&mut runner, &envelope).unwrap(), first);
    assert_eq!(content(&rig), "hello\n");
}

#[test]
fn orders_of_a_later_version_are_refused_not_lost() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let mut job = serde_json::to_value(rig.job(1, Order::CollectFacts)).unwrap();
    job["order"] = json!({ "kind": "levitate" });
    let receipt = rig.deliver(&mut runner, &rig.sign_text(job.to_string())).unwrap();
    assert_eq!(refusal(&receipt.result), RefusalCode::UnknownOperation);
}

#[test]
fn receipts_are_numbered_and_chained() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let mut previous = "0".repeat(64);
    for seq in 1..=4 {
        let order =
            if seq == 3 { rig.apply_order(CONTENT, &motd("x")) } else { Order::CollectFacts };
        let envelope = rig.sign(&rig.job(seq, order));
        let (_, signed) = runner.handle(&envelope, &mut |_, _| {}).unwrap().unwrap();
        let Receipt { number, previous: found, host, .. } = rig.open(&signed);
        assert_eq!((number, found, host), (seq, previous, HOST));
        previous = hex::encode(Sha256::digest(&signed.payload));
        if seq == 2 {
            runner = {
                drop(runner);
                rig.start()
            };
        }
    }
}

/// Applies a change, lets `meanwhile` happen, and delivers an order to undo it.
fn undo(meanwhile: impl Fn(&Rig), change: impl Fn(&mut Order)) -> (JobResult, String) {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let job = rig.job(1, rig.apply_order(CONTENT, &motd("new\n")));
    rig.run(&mut runner, &job);
    let mut order = rig.revert_order(CONTENT, &motd("new\n"), job.id);
    meanwhile(&rig);
    change(&mut order);
    let result = rig.run(&mut runner, &rig.job(2, order));
    (result, content(&rig))
}

#[test]
fn undoing_is_refused_when_it_is_not_that_state_any_more() {
    let overwrite = |rig: &Rig| {
        let file = path("/etc/motd");
        let meta = rig.host.stat(&file).unwrap();
        let ids = rig.host.own_ids();
        rig.host.write(&file, meta.as_ref(), b"by hand", Mode::from_bits(0o644), ids).unwrap();
    };
    let (result, content) = undo(overwrite, |_| {});
    let JobResult::Refused { code: RefusalCode::Drift, observed, .. } = result else {
        panic!("{result:?}");
    };
    assert!(observed.iter().any(|field| field.name == "size" && field.value == json!(7)));
    assert_eq!(content, "by hand");
    // Even when the plan was made after somebody moved it.
    let (rig, fake) = Rig::fake();
    let mut runner = rig.start();
    let job = rig.job(1, rig.apply_order(CONTENT, &motd("new\n")));
    rig.run(&mut runner, &job);
    fake.put_file(&path("/etc/motd"), b"by hand", Mode::from_bits(0o644));
    let order = rig.revert_order(CONTENT, &motd("new\n"), job.id);
    assert_eq!(refusal(&rig.run(&mut runner, &rig.job(2, order))), RefusalCode::Drift);
}

#[test]
fn undoing_is_refused_without_what_it_needs() {
    let other = JobId(Uuid::from_u128(0xdead));
    let (result, _) = undo(
        |_| {},
        |order| {
            if let Order::Revert { undoes, .. } = order {
                *undoes = other;
            }
        },
    );
    assert_eq!(refusal(&result), RefusalCode::NoSnapshot);
    let (result, _) = undo(|rig| std::fs::remove_file(&rig.snapshot_files()[0]).unwrap(), |_| {});
    assert_eq!(refusal(&result), RefusalCode::NoSnapshot);
    let (result, content) = undo(
        |rig| {
            let file = &rig.snapshot_files()[0];
            let text = std::fs::read_to_string(file).unwrap();
            // aGVsbG8K is "hello\n".
            std::fs::write(file, text.replace("aGVsbG8K", "ZXZpbAo=")).unwrap();
        },
        |_| {},
    );
    assert_eq!(refusal(&result), RefusalCode::NoSnapshot);
    assert_eq!(content, "new\n");
}

#[test]
fn undoing_takes_the_approval_of_exactly_that() {
    let reapprove = |change: fn(&mut Step)| {
        let (result, content) = undo(
            |_| {},
            |order| {
                if let Order::Revert { step, authority: approved, .. } = order {
                    change(step);
                    **approved = authority(step, &approved.precondition);
                }
            },
        );
        assert_eq!(content, "new\n");
        refusal(&result)
    };
    assert_eq!(reapprove(|step| step.undoes = None), RefusalCode::PlanMismatch);
    let other_step = |step: &mut Step| {
        if let Some(undoes) = &mut step.undoes {
            undoes.step = 7;
        }
    };
    assert_eq!(reapprove(other_step), RefusalCode::PlanMismatch);
    assert_eq!(reapprove(|step| step.parameters = motd("else")), RefusalCode::PlanMismatch);
}

#[test]
fn nothing_changes_when_the_before_state_cannot_be_saved() {
    let (rig, fake) = Rig::fake();
    let mut runner = rig.start();
    let job = rig.job(1, rig.apply_order(CONTENT, &motd("new\n")));
    // The snapshot's name is taken by a directory that cannot be replaced.
    let taken = rig.config.path().join("snapshots").join(format!("{}.json", job.id));
    std::fs::create_dir_all(taken.join("full")).unwrap();
    let before = fake.nodes();
    assert_eq!(refusal(&rig.run(&mut runner, &job)), RefusalCode::NoSnapshot);
    assert_eq!(fake.nodes(), before);
}

#[test]
fn an_order_that_is_satisfied_already_says_so() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let result = rig.run(&mut runner, &rig.job(1, rig.apply_order(CONTENT, &motd("hello\n"))));
    assert!(matches!(result, JobResult::Applied { changed: false, .. }), "{result:?}");
}

#[test]
fn a_check_that_fails_stops_the_order() {
    let (rig, _) = Rig::fake();
    let mut runner = rig.start();
    let parameters: Value = json!({ "path": "/etc/motd", "content": "x", "mode": "4755" });
    let result = rig.run(&mut runner, &rig.job(1, rig.apply_order(CONTENT, &parameters)));
    assert_eq!(refusal(&result), RefusalCode::CheckFailed);
    assert_eq!(content(&rig), "hello\n");
}

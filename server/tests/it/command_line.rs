//! Commands beside a running server.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, eventually, id, items, text};

impl Server {
    /// What a command says on stdout; it has to succeed.
    async fn say(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_on_with_a_new_key_encryption_key() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "dev").await;
    let operator = server.operator().await;
    let role = shop.role(&server, "app").await;
    let before = server.say(&["keys", "show"]).await;
    assert_eq!(before.matches("current").count(), 1, "{before}");
    assert!(!before.contains("old"), "{before}");

    server.say(&["keys", "rotate"]).await;
    let after = server.say(&["keys", "show"]).await;
    assert!(after.contains("old; only backups can need it"), "{after}");
    // Planning reads the target, which needs the connection's credentials.
    let request = shop.request(&operator, "postgres.lock_user", &role).await;
    let change = id(&operator.post("/change-requests", request).await.is(201));
    operator.act(&change, "plan").await.is(200);
}

async fn freeze(server: &Server, by: &Client, arguments: &[&str]) -> (i32, String, String) {
    run(server, by, "freeze", arguments).await
}

/// Runs a command as somebody; its exit code, and what it says on stdout and on stderr.
async fn run(
    server: &Server,
    by: &Client,
    command: &str,
    arguments: &[&str],
) -> (i32, String, String) {
    let base = server.base.lock().unwrap().clone();
    let done = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexplane"))
        .arg(command)
        .args(arguments)
        .env("NEXPLANE_SERVER", base)
        .env("NEXPLANE_TOKEN", by.token.as_deref().unwrap())
        .env("NO_COLOR", "1")
        .output()
        .await
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code().unwrap(), said(&done.stdout), said(&done.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calendar_is_kept_from_the_shell() {
    let server = Server::start().await;
    let viewer = server.person("vera", &["viewer"]).await;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let end = format!("{end:.6}");
    let declare = ["declare", "--tag", "billing", "--end", &end, "--reason", "Year-end close"];
    let (code, _, why) = freeze(&server, &viewer, &declare).await;
    assert_eq!(code, 1, "{why}");
    assert!(why.contains("access.denied"), "{why}");
    let json: Vec<_> = declare.into_iter().chain(["--json"]).collect();
    let (code, said, why) = freeze(&server, &server.admin, &json).await;
    assert_eq!(code, 0, "{why}");
    let declared: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(declared["scope"], json!({ "kind": "tag", "tag": "billing" }));
    let (code, said, _) = freeze(&server, &viewer, &["list"]).await;
    assert_eq!(code, 0);
    for word in ["in_force", "tag billing", "Year-end close", &id(&declared)] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let end = ["end", &id(&declared), "--reason", "The books are closed", "--json"];
    let (code, said, why) = freeze(&server, &server.admin, &end).await;
    assert_eq!(code, 0, "{why}");
    let ended: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(text(&ended["state"]), "ended");
    // One scope, and no guessing.
    let (code, ..) =
        freeze(&server, &server.admin, &["declare", "--reason", "x", "--end", "y"]).await;
    assert_eq!(code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn glass_is_broken_and_reviewed_from_the_shell() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let role = shop.role(&server, "app").await;
    let operator = server.operator().await;
    let request = shop.request(&operator, "postgres.lock_user", &role).await;
    let change = operator.submitted(request).await["number"].to_string();
    let responder = server.person("rita", &["responder"]).await;
    let approver = server.approver().await;
    let told = async |by: &Client, arguments: &[&str]| run(&server, by, "change", arguments).await;
    let breaking = ["break-glass", &change, "--justification", "The key has leaked"];
    let (code, _, why) = told(&approver, &breaking).await;
    assert!(code == 1 && why.contains("access.denied"), "{code} {why}");
    assert_eq!(told(&responder, &breaking[..2]).await.0, 2, "a justification is needed");
    let (code, said, why) = told(&responder, &breaking).await;
    assert_eq!(code, 0, "{why}");
    for words in ["[approved]", "approved 0 of 1", "glass    broken at", "The key has leaked"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (code, _, why) = told(&operator, &["execute", &change, "--watch"]).await;
    assert_eq!(code, 0, "{why}");
    let (_, said, _) = told(&operator, &["show", &change]).await;
    for words in ["[complete]", "to review that glass was broken for it", "review   due by 2"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let review = ["review", &change, "--comment", "It had to be"];
    let (code, _, why) = told(&responder, &review).await;
    assert!(code == 1 && why.contains("change.own_review"), "{code} {why}");
    let (code, said, why) = told(&approver, &review).await;
    assert!(code == 0 && !said.contains("review   due"), "{said} {why}");
    let (code, said, _) = told(&approver, &["break-glass", "--help"]).await;
    assert!(code == 0 && said.contains("nexplane change break-glass 7"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_windows_are_kept_from_the_shell() {
    let server = Server::start().await;
    let define = [
        "define",
        "--name",
        "Nightly",
        "--environment",
        "prod",
        "--cron",
        "0 22 * * mon-fri",
        "--zone",
        "Europe/Vienna",
        "--duration",
        "4h",
        "--json",
    ];
    let (code, said, why) = run(&server, &server.admin, "window", &define).await;
    assert_eq!(code, 0, "{why}");
    let defined: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(defined["slots"]["duration_s"], 14_400);
    let viewer = server.person("vera", &["viewer"]).await;
    let (code, said, _) = run(&server, &viewer, "window", &["list"]).await;
    assert_eq!(code, 0);
    for word in ["Nightly", "0 22 * * mon-fri (Europe/Vienna)", "4h", &id(&defined)] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let remove = ["remove", &id(&defined), "--reason", "Replaced"];
    let (code, _, why) = run(&server, &viewer, "window", &remove).await;
    assert_eq!(code, 1);
    assert!(why.contains("access.denied"), "{why}");
    let (code, said, why) = run(&server, &server.admin, "window", &remove).await;
    assert_eq!(code, 0, "{why}");
    assert!(said.contains("removed"), "{said}");
    let (code, _, why) =
        run(&server, &viewer, "window", &["define", "--all", "--duration", "soon"]).await;
    assert_eq!(code, 2, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_that_of_the_package() {
    let said = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexplane"))
        .arg("version")
        .output()
        .await
        .unwrap();
    let expected = concat!("nexplane ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_forked_is_another_one() {
    let mut server = Server::start().await;
    let origin = async |server: &Server| {
        eventually("the log is sealed", async || {
            let note = server.admin.get("/log/checkpoint").await;
            note.json.as_str()?.lines().next().map(str::to_owned)
        })
        .await
    };
    let before = origin(&server).await;
    let key = server.say(&["keys", "show", "log"]).await;
    server.stop().await;
    let last = server.events().await - 1;
    let fork = async |position: i64| {
        let position = position.to_string();
        let arguments = ["log", "fork", "--reason", "a test", "--last-good-position", &position];
        server.command(&arguments).output().await.unwrap()
    };
    let refused = fork(last - 1).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("the log ends at position {last}")), "{said}");
    assert!(fork(last).await.status.success());

    // Read models of the other history stop, and say why.
    let stalled = server.say(&["projections", "list", "--json"]).await;
    assert!(!stalled.contains("\"lag\": 1"), "{stalled}");
    server.say(&["projections", "rebuild", "all"]).await;
    server.up().await;
    assert_ne!(origin(&server).await, before);
    assert_ne!(server.say(&["keys", "show", "log"]).await, key);
    let models = items(&server.admin.get("/projections").await.is(200));
    assert!(models.iter().all(|model| model["state"] == "live"), "{models:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_kept_from_the_shell() {
    let server = Server::start().await;
    let viewer = server.person("vera", &["viewer"]).await;
    let policy =
        async |by: &Client, arguments: &[&str]| run(&server, by, "policy", arguments).await;
    let (code, said, why) = policy(&viewer, &["show", "--document"]).await;
    assert_eq!(code, 0, "{why}");
    let mut document: Value = serde_json::from_str(&said).unwrap();
    document["rules"][5]["then"]["ask"]["approvals"] = json!(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let (code, said, why) = policy(&viewer, &["simulate", file]).await;
    assert_eq!(code, 0, "{why}");
    for words in ["6. high risk needs one approver", "Weaker: Rule 6", "There is no submission"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let publish = ["publish", file, "--based-on", "1", "--note", "One is enough"];
    let (code, _, why) = policy(&viewer, &publish).await;
    assert!(code == 1 && why.contains("access.denied"), "{code} {why}");
    let (code, said, why) = policy(&server.admin, &publish).await;
    assert!(code == 0 && said.contains("Version 2, in force"), "{code} {said} {why}");
    let (code, _, why) = policy(&server.admin, &publish).await;
    assert!(code == 1 && why.contains("policy.moved"), "{code} {why}");
    let (code, said, _) = policy(&viewer, &["list"]).await;
    assert!(code == 0 && said.contains("One is enough") && said.contains("built in"), "{said}");
    let (_, said, _) = policy(&viewer, &["show", "1"]).await;
    assert!(said.contains("high risk needs two approvers"), "{said}");
    let (code, _, why) = policy(&viewer, &["show", "7"]).await;
    assert!(code == 1 && why.contains("no such version"), "{code} {why}");
    document["rules"] = json!([]);
    std::fs::write(file, document.to_string()).unwrap();
    let (code, _, why) = policy(&viewer, &["simulate", file]).await;
    assert!(code == 1 && why.contains("/document/rules"), "{code} {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_and_projects_are_kept_from_the_shell() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let operator = server.operator().await;
    let role = shop.role(&server, "app").await;
    let schedule = async |arguments: &[&str]| run(&server, &operator, "schedule", arguments).await;
    let project = async |arguments: &[&str]| run(&server, &operator, "project", arguments).await;
    let key = format!("role/{role}");
    let create = [
        "create",
        "--type",
        "postgres.lock_user",
        "--connection",
        &shop.connection,
        "--target",
        &key,
        "--title",
        "Lock",
        "--reason",
        "Weekly",
        "--cron",
        "0 3 * * sun",
        "--zone",
        "Europe/Vienna",
        "--json",
    ];
    let (code, said, why) = schedule(&create).await;
    assert_eq!(code, 0, "{why}");
    let recurring = id(&serde_json::from_str(&said).unwrap());
    let (code, said, why) = schedule(&["edit", &recurring, "--cron", "0 4 * * sun"]).await;
    assert!(code == 0 && said.contains("0 4 * * sun in Europe/Vienna"), "{said} {why}");
    let (code, said, why) = schedule(&["pause", &recurring, "--reason", "Holidays."]).await;
    assert!(code == 0 && said.contains("Paused: Holidays."), "{said} {why}");
    let (code, said, why) = schedule(&["resume", &recurring]).await;
    assert!(code == 0 && said.contains("Waits for its next tick"), "{said} {why}");
    let (code, said, _) = schedule(&["list"]).await;
    assert!(code == 0 && said.contains(&recurring) && said.contains("active"), "{said}");
    let (code, _, why) = schedule(&["edit", &recurring, "--zone", "Mars/Olympus"]).await;
    assert!(code == 1 && why.contains("validation.failed"), "{code} {why}");
    let (code, said, why) = schedule(&["delete", &recurring, "--reason", "Done."]).await;
    assert!(code == 0 && said.contains("(deleted)"), "{said} {why}");

    let request = shop.request(&operator, "postgres.lock_user", &role).await;
    for _ in 0..2 {
        operator.post("/change-requests", request.clone()).await.is(201);
    }
    let (code, said, why) = project(&["create", "--name", "Leavers", "--json"]).await;
    assert_eq!(code, 0, "{why}");
    let group = id(&serde_json::from_str(&said).unwrap());
    let (code, _, why) = project(&["add", &group, "1"]).await;
    assert_eq!(code, 0, "{why}");
    let (code, said, why) = project(&["add", &group, "2", "--after", "1"]).await;
    assert!(code == 0 && said.contains("#2"), "{said} {why}");
    let (code, _, why) = project(&["depend", &group, "1", "--after", "#2"]).await;
    assert!(
        code == 1 && why.contains("#1 after #2 after #1") && why.contains("project.cycle"),
        "{why}"
    );
    let (code, said, why) = project(&["execute", &group]).await;
    assert!(code == 0 && said.contains("Waits for #1 (draft)"), "{said} {why}");
    let (code, said, _) = project(&["list"]).await;
    assert!(code == 0 && said.contains("running"), "{said}");
    let (code, said, why) = project(&["close", &group, "--reason", "Not today."]).await;
    assert!(code == 0 && said.contains("(closed)"), "{said} {why}");
}

//! Commands beside a running server.

use crate::harness::{Server, Shop, eventually, id, items};

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

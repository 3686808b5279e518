//! Commands beside a running server.

use crate::harness::{Server, Shop, id};

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

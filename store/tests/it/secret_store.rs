//! The secret table on a real database.

use std::sync::Arc;

use nexplane_core::id::SecretId;
use nexplane_store::secret::{Keyring, KeyringError, SecretBytes, SecretError, SecretStore};
use nexplane_store::testing::TestDatabase;
use sqlx::{AssertSqlSafe, PgPool};

const OWNER: &str = "connection:0190a1c8-0000-7000-8000-000000000001";
const OTHER: &str = "connection:0190a1c8-0000-7000-8000-000000000002";

fn store() -> SecretStore {
    SecretStore::new(Arc::new(Keyring::generate().unwrap()))
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::from(text.to_owned())
}

async fn put(store: &SecretStore, pool: &PgPool, owner: &str, text: &str) -> SecretId {
    store.put(pool, owner, "password", "bind password", &secret(text)).await.unwrap()
}

async fn run(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_secret_comes_back_for_its_owner_only() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    let id = put(&store, pool, OWNER, "hunter2").await;
    assert_eq!(store.open(pool, id, OWNER).await.unwrap().expose(), b"hunter2");

    let error = store.open(pool, id, OTHER).await.unwrap_err();
    assert!(matches!(error, SecretError::WrongOwner { .. }), "{error:?}");
    // Not by the column alone: with a changed owner the seal does not open.
    run(pool, &format!("UPDATE nexplane.secrets SET owner = '{OTHER}'")).await;
    let error = store.open(pool, id, OTHER).await.unwrap_err();
    assert!(matches!(error, SecretError::Damaged { .. }), "{error:?}");

    let unknown = SecretId(uuid::Uuid::nil());
    assert!(matches!(store.open(pool, unknown, OWNER).await, Err(SecretError::NotFound { .. })));
}

#[tokio::test]
async fn a_secret_is_written_with_the_transaction_of_its_caller() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    let mut transaction = pool.begin().await.unwrap();
    let value = secret("one");
    let id = store.put(&mut *transaction, OWNER, "token", "t", &value).await.unwrap();
    store.put_version(&mut transaction, id, OWNER, &secret("two")).await.unwrap();
    assert_eq!(store.open(&mut *transaction, id, OWNER).await.unwrap().expose(), b"two");
    transaction.rollback().await.unwrap();
    assert!(matches!(store.open(pool, id, OWNER).await, Err(SecretError::NotFound { .. })));
}

#[tokio::test]
async fn versions_follow_each_other() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    let id = put(&store, pool, OWNER, "one").await;
    assert_eq!(store.put_version(pool, id, OWNER, &secret("two")).await.unwrap(), 2);
    let refused = store.put_version(pool, id, OTHER, &secret("x")).await;
    assert!(matches!(refused, Err(SecretError::WrongOwner { .. })));
    assert_eq!(store.put_version(pool, id, OWNER, &secret("three")).await.unwrap(), 3);
    assert_eq!(store.open(pool, id, OWNER).await.unwrap().expose(), b"three");
    assert_eq!(store.open_version(pool, id, OWNER, 1).await.unwrap().expose(), b"one");

    assert!(!store.delete(pool, id, OTHER).await.unwrap());
    assert!(store.delete(pool, id, OWNER).await.unwrap());
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM nexplane.secret_versions")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn moved_rows_do_not_open() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    let (mine, theirs) =
        (put(&store, pool, OWNER, "mine").await, put(&store, pool, OWNER, "theirs").await);
    store.put_version(pool, mine, OWNER, &secret("newer")).await.unwrap();
    let swaps = [
        // The same owner's other secret: value and key, then one of them.
        format!(
            "sealed = o.sealed, wrapped_key = o.wrapped_key FROM nexplane.secret_versions o \
                 WHERE v.secret_id = '{mine}' AND o.secret_id = '{theirs}'"
        ),
        format!(
            "sealed = o.sealed FROM nexplane.secret_versions o \
                 WHERE v.secret_id = '{mine}' AND o.secret_id = '{theirs}'"
        ),
        // The same secret's older version.
        format!(
            "sealed = o.sealed, wrapped_key = o.wrapped_key FROM nexplane.secret_versions o \
                 WHERE v.secret_id = '{mine}' AND v.version = 2 AND o.secret_id = v.secret_id \
                 AND o.version = 1"
        ),
        format!(
            "sealed = set_byte(v.sealed, 20, get_byte(v.sealed, 20) # 1) \
                 WHERE v.secret_id = '{mine}'"
        ),
    ];
    run(pool, "CREATE TABLE good AS SELECT * FROM nexplane.secret_versions").await;
    for swap in swaps {
        run(pool, &format!("UPDATE nexplane.secret_versions v SET {swap}")).await;
        let error = store.open(pool, mine, OWNER).await.unwrap_err();
        assert!(matches!(error, SecretError::Damaged { .. }), "{swap}: {error:?}");
        run(pool, "DELETE FROM nexplane.secret_versions").await;
        run(pool, "INSERT INTO nexplane.secret_versions SELECT * FROM good").await;
        assert_eq!(store.open(pool, mine, OWNER).await.unwrap().expose(), b"newer");
    }
}

#[tokio::test]
async fn a_new_key_takes_over_and_the_old_one_can_go() {
    let database = TestDatabase::new().await;
    let pool = database.pool();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kek");
    let old = Arc::new(Keyring::open(&file).unwrap());
    let store = SecretStore::new(Arc::clone(&old));
    let mut ids = Vec::new();
    let mut writer = pool.begin().await.unwrap();
    for n in 0..210 {
        let value = secret(&format!("value {n}"));
        ids.push(store.put(&mut *writer, OWNER, "password", "p", &value).await.unwrap());
    }
    writer.commit().await.unwrap();
    let lost = put(&self::store(), pool, OWNER, "its key is nowhere").await;

    let keyring = Arc::new(Keyring::renew(&file).unwrap());
    let store = SecretStore::new(Arc::clone(&keyring));
    assert_eq!(store.open(pool, ids[7], OWNER).await.unwrap().expose(), b"value 7");
    let rotation = store.rotate_kek(pool).await.unwrap();
    assert_eq!((rotation.rewrapped, rotation.failed.as_slice()), (210, [lost].as_slice()));
    assert_eq!(store.rotate_kek(pool).await.unwrap().rewrapped, 0);
    assert_eq!(store.missing_keys(pool).await.unwrap().len(), 1);

    // Only the first key of the file is needed now.
    let text = std::fs::read_to_string(&file).unwrap();
    let first = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let store = SecretStore::new(Arc::new(Keyring::parse(first).unwrap()));
    let mut reader = pool.acquire().await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        let value = store.open(&mut *reader, *id, OWNER).await.unwrap();
        assert_eq!(value.expose_str().unwrap(), format!("value {n}"));
    }
    // And the old one opens nothing any more.
    let error = SecretStore::new(old).open(pool, ids[0], OWNER).await.unwrap_err();
    assert!(matches!(&error, SecretError::MissingKey { key, .. } if key == keyring.current()));
}

#[tokio::test]
async fn a_running_store_learns_of_a_new_key_from_the_file() {
    let database = TestDatabase::new().await;
    let pool = database.pool();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kek");
    let running = SecretStore::with_file(&file).unwrap();
    let id = put(&running, pool, OWNER, "from before").await;

    Keyring::renew(&file).unwrap();
    let rotating = SecretStore::with_file(&file).unwrap();
    rotating.rotate_kek(pool).await.unwrap();
    // The running store does not know the key that wraps it now, and looks.
    assert_eq!(running.open(pool, id, OWNER).await.unwrap().expose(), b"from before");
    put(&running, pool, OWNER, "from after").await;
    let uses = running.keys_in_use(pool).await.unwrap();
    let mut seen: Vec<_> = uses.iter().map(|key| (key.current, key.present, key.wraps)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(false, true, 0), (true, true, 2)]);

    // A file that lost its key is no reason to forget the keys at hand.
    std::fs::remove_file(&file).unwrap();
    let other = put(&self::store(), pool, OWNER, "its key is nowhere").await;
    let error = running.open(pool, other, OWNER).await.unwrap_err();
    assert!(matches!(error, SecretError::MissingKey { .. }), "{error:?}");
    assert_eq!(running.open(pool, id, OWNER).await.unwrap().expose(), b"from before");
}

#[tokio::test]
async fn a_produced_secret_is_shown_once() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    let id = put(&store, pool, OWNER, "new access key").await;
    let refused = store.reveal_once(pool, id, OTHER).await.unwrap_err();
    assert!(matches!(refused, SecretError::WrongOwner { .. }), "{refused:?}");

    let attempts = (0..6).map(|_| store.reveal_once(pool, id, OWNER));
    let results = futures_util::future::join_all(attempts).await;
    let (shown, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].as_ref().unwrap().expose(), b"new access key");
    for answer in refused {
        assert!(matches!(answer, Err(SecretError::AlreadyRevealed { .. })), "{answer:?}");
    }
    // By reference it goes on working.
    assert_eq!(store.open(pool, id, OWNER).await.unwrap().expose(), b"new access key");
}

#[tokio::test]
async fn a_secret_that_does_not_open_is_not_used_up() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    let id = put(&store, pool, OWNER, "value").await;
    let stranger = self::store();
    let refused = stranger.reveal_once(pool, id, OWNER).await.unwrap_err();
    assert!(matches!(refused, SecretError::MissingKey { .. }), "{refused:?}");
    assert_eq!(store.reveal_once(pool, id, OWNER).await.unwrap().expose(), b"value");
}

#[tokio::test]
async fn nothing_readable_is_in_the_database_or_in_what_is_printed() {
    let database = TestDatabase::new().await;
    let pool = database.pool();
    let kek = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
    let keyring = Keyring::parse(kek).unwrap();
    let shown = format!("{keyring:?}");
    let store = SecretStore::new(Arc::new(keyring));
    let plain = "correct horse battery staple";
    let id = put(&store, pool, OWNER, plain).await;
    let again = put(&store, pool, OWNER, plain).await;

    let dump: Vec<String> = sqlx::query_scalar(
        "SELECT s::text || v::text FROM nexplane.secrets s \
         JOIN nexplane.secret_versions v ON v.secret_id = s.id ORDER BY s.id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let value = store.open(pool, id, OWNER).await.unwrap();
    let error = store.open(pool, id, OTHER).await.unwrap_err();
    let printed = format!("{dump:?} {value:?} {store:?} {shown} {error} {error:?}");
    let wanted = [plain.to_owned(), hex::encode(plain), hex::encode(&plain[..8]), kek.to_owned()];
    for text in wanted {
        assert!(!printed.contains(&text), "{text}");
    }
    assert!(printed.contains("***"));
    // The same value twice is not recognisable as such.
    let sealed: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT sealed) FROM nexplane.secret_versions WHERE secret_id IN ($1, $2)",
    )
    .bind(id.0)
    .bind(again.0)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(sealed, 2);
}

#[tokio::test]
async fn sizes_are_bounded() {
    let database = TestDatabase::new().await;
    let (store, pool) = (store(), database.pool());
    for length in [0, 1, 64 * 1024] {
        let value = SecretBytes::new(vec![7; length]);
        let id = store.put(pool, OWNER, "file", "f", &value).await.unwrap();
        assert_eq!(store.open(pool, id, OWNER).await.unwrap().expose().len(), length);
    }
    let value = SecretBytes::new(vec![7; 64 * 1024 + 1]);
    let refused = store.put(pool, OWNER, "file", "f", &value).await.unwrap_err();
    assert!(matches!(refused, SecretError::TooLong { .. }), "{refused:?}");
    assert!(matches!(Keyring::parse(""), Err(KeyringError::Empty)));
}

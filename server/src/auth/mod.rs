//! Who is asking: passwords, session tokens, API tokens, and the person behind them.

mod caller;
mod jwt;
mod password;
mod throttle;

pub use caller::{Caller, Credential, People, disabled};
pub use jwt::{Claims, JwtError, JwtKey};
pub use password::{MIN_PASSWORD, generate as generate_password, hash, verify};
pub use throttle::Throttle;

use ring::rand::{SecureRandom, SystemRandom};

/// Seconds that a session token is valid.
pub const TOKEN_TTL_S: i64 = 15 * 60;
/// Seconds that a session lasts, however often its token is renewed.
pub const SESSION_TTL_S: i64 = 12 * 60 * 60;

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system's random numbers are available once it has booted");
    bytes
}

/// A random text with 256 bits, safe in URLs and shells, with a prefix that tells what it is.
pub fn random_token(prefix: &str) -> String {
    use base64::Engine as _;
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random::<32>());
    format!("{prefix}_{secret}")
}

//! What tells a running agent to end, or to get a fresh certificate.

use anyhow::Context;
use tokio::runtime::Runtime;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{
    CtrlBreak, CtrlClose, CtrlShutdown, ctrl_break, ctrl_close, ctrl_shutdown,
};

/// SIGTERM and SIGUSR1.
#[cfg(unix)]
pub struct Signals {
    terminate: Signal,
    rotate: Signal,
}

#[cfg(unix)]
impl Signals {
    /// Within a runtime.
    pub fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
        let rotate = signal(SignalKind::user_defined1()).context("could not listen for SIGUSR1")?;
        Ok(Self { terminate, rotate })
    }

    /// Ends when the agent shall end; until then renews when it is asked to.
    pub fn serve<F: Fn() + Send + 'static>(
        self,
        runtime: &Runtime,
        renew: F,
    ) -> impl Future<Output = ()> + use<F> {
        let Self { mut terminate, mut rotate } = self;
        runtime.spawn(async move {
            while rotate.recv().await.is_some() {
                renew();
            }
        });
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }
}

/// Ctrl-Break, the end of the console, and the end of the machine. Nothing asks for a renewal.
#[cfg(windows)]
pub struct Signals {
    interrupt: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    /// Within a runtime.
    pub fn listen() -> anyhow::Result<Self> {
        let what = "could not listen for the end of the console";
        let (interrupt, close) = (ctrl_break().context(what)?, ctrl_close().context(what)?);
        Ok(Self { interrupt, close, shutdown: ctrl_shutdown().context(what)? })
    }

    /// Ends when the agent shall end.
    pub fn serve<F: Fn() + Send + 'static>(
        self,
        _runtime: &Runtime,
        _renew: F,
    ) -> impl Future<Output = ()> + use<F> {
        let Self { mut interrupt, mut close, mut shutdown } = self;
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = close.recv() => {}
                _ = shutdown.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }
}

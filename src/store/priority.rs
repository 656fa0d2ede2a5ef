//! The priorities of the store's threads.

/// How far below the workers the threads of the reading door stand, in the kernel's steps of niceness: under overload they
/// would else take turns as long as theirs, and a probe or a refusal wait for pages of tokens.
#[cfg(target_os = "linux")]
const COURTESY: i32 = 5;

/// What a door's threads do, and so whom they let go first where there are fewer cores than threads that want one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Whatever is asked: behind the threads that serve connections.
    Read,
    /// Long lists, likewise.
    List,
    /// Short looks that others wait for: among them.
    Probe,
}

impl Errand {
    /// What its threads are called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "store-read",
            Self::List => "store-list",
            Self::Probe => "store-probe",
        }
    }
}

/// Gives this thread the priority that its errand has. Linux has one for each thread; elsewhere it would be the process's.
pub(super) fn rank(errand: Errand) {
    #[cfg(target_os = "linux")]
    if errand != Errand::Probe
        && let Err(error) = rustix::process::nice(COURTESY)
    {
        tracing::debug!(%error, "a reader keeps its priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = errand;
}

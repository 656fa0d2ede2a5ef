//! The priorities of the store's threads.

/// The steps of niceness by which reader threads stand below the workers. Under overload they would else get equal time
/// slices, and a probe or a refusal would wait for pages of tokens.
#[cfg(target_os = "linux")]
const COURTESY: i32 = 5;

/// The work of a reader thread, which decides its priority when there are fewer cores than runnable threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Any reads: behind the threads that serve connections.
    Read,
    /// Long lists, likewise.
    List,
    /// Short reads that others wait for: equal to those threads.
    Probe,
}

impl Errand {
    /// The name of its threads.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "store-read",
            Self::List => "store-list",
            Self::Probe => "store-probe",
        }
    }
}

/// Sets this thread's priority for its work. Linux has one for each thread; elsewhere it would be the process's.
pub(super) fn rank(errand: Errand) {
    #[cfg(target_os = "linux")]
    if errand != Errand::Probe
        && let Err(error) = rustix::process::nice(COURTESY)
    {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = errand;
}

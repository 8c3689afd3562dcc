//! What a program could do, as its source says before it runs.

use crate::words;

words! {
    /// What a program could do.
    Capability {
        /// Talk to others over a network.
        Network = "network",
        /// Start other programs, or signal them.
        Processes = "processes",
        /// Read or change its environment.
        Environment = "environment",
        /// Name files outside of the workspace.
        FileSystem = "file_system",
        /// Execute machine code of its own.
        NativeCode = "native_code",
        /// Execute what is in no source.
        DynamicExecution = "dynamic_execution",
        /// Hide what it does from readers.
        Obfuscation = "obfuscation",
    }
}

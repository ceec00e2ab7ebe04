//! What a command takes, declared once.

/// One command's declaration.
pub struct Spec {
    /// The words that call it: `"produce"`, `"topic create"`.
    pub name: &'static str,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// In their order; required ones first.
    pub positionals: &'static [Positional],
    pub options: &'static [Opt],
    /// Lists of options that several commands share.
    pub shared: &'static [&'static [Opt]],
    /// What else is worth knowing, with an example; printed at the end of the help.
    pub details: &'static str,
}

/// An argument without a name.
pub struct Positional {
    /// In capitals.
    pub name: &'static str,
    pub required: bool,
    pub help: &'static str,
}

/// An argument with a name.
pub struct Opt {
    /// Without the dashes.
    pub long: &'static str,
    pub short: Option<char>,
    /// What to call its value; `None` for a switch.
    pub value: Option<&'static str>,
    /// May be given more than once.
    pub repeats: bool,
    pub help: &'static str,
}

impl Opt {
    /// An option with a value.
    pub const fn value(long: &'static str, value: &'static str, help: &'static str) -> Opt {
        Opt { long, short: None, value: Some(value), repeats: false, help }
    }

    /// An option that is there or not.
    pub const fn switch(long: &'static str, help: &'static str) -> Opt {
        Opt { long, short: None, value: None, repeats: false, help }
    }

    /// The same, also by one letter.
    #[must_use]
    pub const fn short(self, short: char) -> Opt {
        Opt { short: Some(short), ..self }
    }

    /// The same, any number of times.
    #[must_use]
    pub const fn repeated(self) -> Opt {
        Opt { repeats: true, ..self }
    }
}

impl Spec {
    /// Its own options and the shared ones.
    pub fn all_options(&self) -> impl Iterator<Item = &'static Opt> {
        self.options.iter().chain(self.shared.iter().flat_map(|shared| shared.iter()))
    }
}

/// For commands that print something a script would read.
pub const JSON: &[Opt] = &[Opt::switch("json", "Print JSON for scripts")];

//! What is to be known of each code: the text that `svertka help CODE` prints, with examples.

/// The explanations, a section each, in the order of their codes: errors first.
const TEXTS: [&str; 6] = [
    include_str!("codes/text.md"),
    include_str!("codes/shapes.md"),
    include_str!("codes/limits.md"),
    include_str!("codes/files.md"),
    include_str!("codes/onnx.md"),
    include_str!("codes/warnings.md"),
];

/// A code and what is said of it.
pub struct Explained {
    /// For example `E0312`.
    pub code: &'static str,
    /// In a line.
    pub title: &'static str,
    /// What else is to be known; may be empty.
    pub text: &'static str,
    pub examples: Examples,
}

/// What is given a code, and then the same without it.
pub enum Examples {
    /// Models, the items of one behind its input, or the body of its net.
    Texts([&'static str; 2]),
    /// What a shell does in an empty folder; the second, where the first has been.
    Commands([&'static str; 2]),
}

impl Examples {
    /// The first and the second.
    pub fn both(&self) -> [&'static str; 2] {
        match self {
            Examples::Texts(both) | Examples::Commands(both) => *both,
        }
    }

    /// What stands above the first.
    pub fn title(&self) -> &'static str {
        match self {
            Examples::Texts(_) => "For example",
            Examples::Commands(_) => "For example, in an empty folder",
        }
    }
}

/// All of them, errors first, in the order of their codes.
pub fn all() -> impl Iterator<Item = Explained> {
    TEXTS.iter().flat_map(|text| text.trim_start_matches("# ").split("\n# ")).map(|section| {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        let (code, title) = title.split_once(": ").expect("a code and a title");
        let mut parts = text.split("```");
        let text = parts.next().unwrap_or_default().trim();
        let mut example = |kind| parts.nth(usize::from(kind == "right")).expect("two examples").strip_prefix(kind);
        let both = ["wrong", "right"].map(|kind| example(kind).expect("the wrong one first, then the right one"));
        let commands = both.map(|example| example.strip_prefix(" commands\n"));
        let examples = match (commands, both.map(|example| example.strip_prefix('\n'))) {
            ([Some(wrong), Some(right)], _) => Examples::Commands([wrong, right]),
            (_, [Some(wrong), Some(right)]) => Examples::Texts([wrong, right]),
            _ => panic!("{code}: two texts, or two times commands"),
        };
        Explained { code, title, text, examples }
    })
}

/// What is said of a code, or of the name of a warning.
pub fn find(name: &str) -> Option<Explained> {
    all().find(|explained| explained.code.eq_ignore_ascii_case(name) || explained.warning() == Some(name))
}

impl Explained {
    /// The name of a warning, which `allow` takes.
    pub fn warning(&self) -> Option<&'static str> {
        self.title.strip_suffix("`)")?.rsplit_once("(`").map(|(_, name)| name)
    }

    /// As it is printed.
    pub fn page(&self) -> String {
        let text = if self.text.is_empty() { String::new() } else { format!("\n{}\n", self.text) };
        let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let [wrong, right] = self.examples.both().map(indented);
        format!("{}: {}\n{text}\n{}\n\n{wrong}\nbetter\n\n{right}", self.code, self.title, self.examples.title())
    }
}

/// An example as a whole model.
pub fn model_of(example: &str) -> String {
    let starts = |item: &str| example.lines().any(|line| line.starts_with(item));
    let head = if starts("model ") { "" } else { "model m\ninput image: f32[N, 3, 32, 32]\n" };
    let net = if starts("net ") { example.to_string() } else { format!("net {{\n{example}}}\n") };
    format!("{head}{net}")
}

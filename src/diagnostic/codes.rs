//! What is to be known of each code: the text that `svertka help CODE` prints, with examples.

/// The explanations, a section each.
const TEXT: &str = include_str!("codes.md");

/// A code and what is said of it.
pub struct Explained {
    /// For example `E0312`.
    pub code: &'static str,
    /// In a line.
    pub title: &'static str,
    /// What else is to be known; may be empty.
    pub text: &'static str,
    /// A text that is given this code, and one without: models, the items of one behind its input, or the body of its net.
    pub examples: Option<[&'static str; 2]>,
}

/// All of them, errors first, in the order of their codes.
pub fn all() -> impl Iterator<Item = Explained> {
    TEXT.trim_start_matches("# ").split("\n# ").map(|section| {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        let (code, title) = title.split_once(": ").expect("a code and a title");
        let mut parts = text.split("```");
        let text = parts.next().unwrap_or_default().trim();
        let examples = match [parts.next(), parts.nth(1)] {
            [Some(wrong), Some(right)] => {
                let [wrong, right] = [wrong.strip_prefix("wrong\n"), right.strip_prefix("right\n")];
                Some([wrong.expect("the wrong one first"), right.expect("then the right one")])
            }
            _ => None,
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
        let examples = self.examples.map_or_else(String::new, |[wrong, right]| {
            let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
            format!("\nFor example\n\n{}\nbetter\n\n{}", indented(wrong), indented(right))
        });
        format!("{}: {}\n{text}{examples}", self.code, self.title)
    }
}

/// An example as a whole model.
pub fn model_of(example: &str) -> String {
    let starts = |item: &str| example.lines().any(|line| line.starts_with(item));
    let head = if starts("model ") { "" } else { "model m\ninput image: f32[N, 3, 32, 32]\n" };
    let net = if starts("net ") { example.to_string() } else { format!("net {{\n{example}}}\n") };
    format!("{head}{net}")
}

//! Letters and signs of other alphabets that look like those of the language.

use super::expected::Item;
use crate::diagnostic::Help;

/// What to say of the first character that the language does not have, in the word or sign of the item that begins at `at`.
pub fn help(item: &Item, at: usize) -> Option<Help> {
    let text = item.text;
    let (word, sign) = (&text[at..], |c: char| c.is_ascii_alphanumeric() || c == '_');
    let place = at + word.len() - word.trim_start_matches(sign).len();
    let c = text[place..].chars().next()?;
    let code = u32::from(c);
    if c.is_ascii() {
        return None;
    }
    let length = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
    let latin = |c: char| if c.is_ascii() { Some(c) } else { latin_of(c) };
    if let (Some(like), Some(word)) = (latin_of(c), word[..length].chars().map(latin).collect::<Option<String>>()) {
        let help = format!("`{c}` is a {} letter (U+{code:04X}) that looks like `{like}`: type that", script(c));
        return Some(item.replace(help, at..at + length, word).into());
    }
    let here = |help: String, new: &str| Some(item.replace(help, place..place + c.len_utf8(), new).into());
    if let Some((_, sign)) = SIGNS.iter().find(|(other, _)| *other == c) {
        return here(format!("this sign is U+{code:04X}; type `{sign}`"), sign);
    }
    // The halfwidth and fullwidth forms of ASCII stand in its order.
    if let Some(ascii) = code.checked_sub(0xfee0).filter(|code| (0x21..0x7f).contains(code)).and_then(char::from_u32) {
        let help = format!("`{c}` is a full-width character (U+{code:04X}); type `{ascii}`");
        return here(help, &ascii.to_string());
    }
    let help = "names have the letters a to z and A to Z, digits and `_`; texts in quotes and comments may have any";
    c.is_alphabetic().then(|| Help::new(help))
}

fn latin_of(c: char) -> Option<char> {
    LOOKALIKES.iter().find(|(other, _)| *other == c).map(|(_, latin)| *latin)
}

fn script(c: char) -> &'static str {
    match c {
        '\u{370}'..='\u{3ff}' => "Greek",
        _ => "Cyrillic",
    }
}

/// Letters that most typefaces draw like Latin ones.
#[rustfmt::skip]
const LOOKALIKES: &[(char, char)] = &[
    // Cyrillic.
    ('а', 'a'), ('е', 'e'), ('о', 'o'), ('р', 'p'), ('с', 'c'), ('у', 'y'), ('х', 'x'), ('і', 'i'), ('ј', 'j'), ('ѕ', 's'),
    ('к', 'k'), ('һ', 'h'), ('ԁ', 'd'), ('ԛ', 'q'), ('ԝ', 'w'), ('ӏ', 'l'),
    ('А', 'A'), ('В', 'B'), ('Е', 'E'), ('К', 'K'), ('М', 'M'), ('Н', 'H'), ('О', 'O'), ('Р', 'P'), ('С', 'C'), ('Т', 'T'),
    ('У', 'Y'), ('Х', 'X'), ('І', 'I'), ('Ј', 'J'), ('Ѕ', 'S'),
    // Greek.
    ('α', 'a'), ('ο', 'o'), ('ρ', 'p'), ('ν', 'v'), ('ι', 'i'), ('κ', 'k'), ('υ', 'u'), ('χ', 'x'), ('γ', 'y'),
    ('Α', 'A'), ('Β', 'B'), ('Ε', 'E'), ('Ζ', 'Z'), ('Η', 'H'), ('Ι', 'I'), ('Κ', 'K'), ('Μ', 'M'), ('Ν', 'N'), ('Ο', 'O'),
    ('Ρ', 'P'), ('Τ', 'T'), ('Υ', 'Y'), ('Χ', 'X'),
];

/// Signs that word processors put in place of others.
const SIGNS: &[(char, &str)] =
    &[('\u{2212}', "-"), ('\u{2013}', "-"), ('\u{2014}', "-"), ('\u{2192}', "|"), ('\u{2026}', "..")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceMap;

    #[test]
    fn lookalikes_are_of_another_alphabet() {
        for (i, (other, latin)) in LOOKALIKES.iter().enumerate() {
            assert!(latin.is_ascii_alphabetic() && !other.is_ascii(), "{other}");
            assert_eq!(latin.is_lowercase(), other.is_lowercase(), "{other}");
            assert!(LOOKALIKES[..i].iter().all(|(earlier, _)| earlier != other), "{other}");
        }
    }

    #[test]
    fn characters_are_named() {
        let file = SourceMap::default().add("a", "");
        let item = |text| Item { text, behind: "", file, offset: 0 };
        let help = |text| help(&item(text), 0).map(|help| help.text).unwrap_or_default();
        assert_eq!(help("3\u{445}3, 8"), "`х` is a Cyrillic letter (U+0445) that looks like `x`: type that");
        assert!(help("c\u{3bf}nv").contains("Greek"));
        assert!(help("，").contains("type `,`"));
        assert!(help("−1").contains("type `-`"));
        assert!(help("свёртка").contains("names have the letters"));
        assert_eq!(help("$ \u{445}"), "");
    }
}

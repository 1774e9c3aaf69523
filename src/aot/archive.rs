//! Static libraries: archives of one object file, in the System V format that linkers of ELF systems read.

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;

/// The library of one object file whose global functions are `symbols`. Dates, owners and modes are fixed, so that
/// equal objects make equal archives.
pub(super) fn archive(object: &[u8], symbols: &[String]) -> Vec<u8> {
    let mut archive = MAGIC.to_vec();
    append(&mut archive, "/", &index(symbols));
    append(&mut archive, "model.o/", object);
    archive
}

/// The index by which the linker finds the member that defines a symbol: the number of symbols, for each the offset of
/// its member, and their names; of even length.
fn index(symbols: &[String]) -> Vec<u8> {
    let names = symbols.iter().flat_map(|name| name.bytes().chain([0]));
    let numbers = 4 * (1 + symbols.len());
    let bytes = (numbers + names.clone().count()).next_multiple_of(2);
    let member = (MAGIC.len() + HEADER_BYTES + bytes) as u32;

    let mut index = (symbols.len() as u32).to_be_bytes().to_vec();
    symbols.iter().for_each(|_| index.extend(member.to_be_bytes()));
    index.extend(names);
    index.resize(bytes, 0);
    index
}

/// Appends a member: a header of name, date, owner, group, mode and size, then the content. Members begin at even
/// offsets.
fn append(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let size = content.len();
    archive.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").bytes());
    archive.extend(content);
    archive.extend(std::iter::repeat_n(b'\n', size % 2));
}

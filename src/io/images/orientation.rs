//! How a picture was held by the camera, as EXIF notes it.
//!
//! Format: TIFF 6.0, section 2 (the file's header and directory), and Exif 2.32, section 4.6.4 (tag 0x112, Orientation).

/// The tag of the orientation, its type (a number of 16 bits), and how many there are.
const TAG: [u32; 3] = [0x112, 3, 1];

/// How the rows of a file become those of the picture that is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Orientation {
    rows_reversed: bool,
    columns_reversed: bool,
    /// Behind the reversals: rows become columns.
    transposed: bool,
}

impl Orientation {
    /// From EXIF data, which begin with the header of a TIFF file. Nothing where they say nothing, or are damaged.
    pub fn of_exif(exif: &[u8]) -> Option<Orientation> {
        let little = match exif.first_chunk()? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let short = |at: usize| {
            let bytes = *exif.get(at..)?.first_chunk()?;
            Some(u32::from(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }))
        };
        let long = |at: usize| {
            let bytes = *exif.get(at..)?.first_chunk()?;
            Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
        };
        let directory = long(4)? as usize;
        let entries = (0..short(directory)? as usize).map(|index| directory + 2 + 12 * index);
        let mut entries = entries.map_while(|at| Some((at, [short(at)?, short(at + 2)?, long(at + 4)?])));
        let (at, _) = entries.find(|&(_, kind)| kind == TAG)?;
        Orientation::numbered(short(at + 8)?)
    }

    fn numbered(number: u32) -> Option<Orientation> {
        (1..=8).contains(&number).then_some(Orientation {
            rows_reversed: matches!(number, 3 | 4 | 6 | 7),
            columns_reversed: matches!(number, 2 | 3 | 7 | 8),
            transposed: number >= 5,
        })
    }

    /// Turns `height` rows of `width` pixels of `N` channels; gives them with their width and height.
    pub fn turn<const N: usize>(self, width: usize, height: usize, pixels: Vec<u8>) -> (usize, usize, Vec<u8>) {
        if self == Orientation::default() {
            return (width, height, pixels);
        }
        let from = pixels.as_chunks::<N>().0;
        let place = |is_reversed: bool, at: usize, size: usize| if is_reversed { size - 1 - at } else { at };
        let pixel = |row, column| {
            let row = place(self.rows_reversed, row, height);
            from[row * width + place(self.columns_reversed, column, width)]
        };
        if self.transposed {
            let turned = (0..width).flat_map(|column| (0..height).flat_map(move |row| pixel(row, column)));
            (height, width, turned.collect())
        } else {
            let turned = (0..height).flat_map(|row| (0..width).flat_map(move |column| pixel(row, column)));
            (width, height, turned.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with another entry and this one.
    fn exif(little: bool, entry: [u16; 4]) -> Vec<u8> {
        let short = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let [tag, kind, count, value] = entry;
        let mut bytes = if little { b"II*\0" } else { b"MM\0*" }.to_vec();
        bytes.extend(long(8));
        bytes.extend(short(2));
        for (tag, kind, count, value) in [(0x10f, 2, 3, 0), (tag, kind, count, value)] {
            bytes.extend([short(tag), short(kind)].concat());
            bytes.extend(long(count.into()));
            bytes.extend([short(value), [0, 0]].concat());
        }
        bytes
    }

    #[test]
    fn the_number_is_found_in_both_byte_orders() {
        for little in [false, true] {
            for number in 1..=8 {
                let found = Orientation::of_exif(&exif(little, [0x112, 3, 1, number]));
                assert_eq!(found, Orientation::numbered(number.into()), "{number}");
                assert!(found.is_some());
            }
            for entry in [[0x112, 3, 1, 0], [0x112, 3, 1, 9], [0x112, 4, 1, 6], [0x112, 3, 2, 6], [0x113, 3, 1, 6]] {
                assert_eq!(Orientation::of_exif(&exif(little, entry)), None, "{entry:?}");
            }
        }
    }

    #[test]
    fn damaged_data_say_nothing() {
        let bytes = exif(true, [0x112, 3, 1, 6]);
        for length in 0..bytes.len() - 2 {
            assert_eq!(Orientation::of_exif(&bytes[..length]), None, "{length} bytes");
        }
        let mut far = bytes.clone();
        far[4..8].fill(0xff);
        assert_eq!(Orientation::of_exif(&far), None);
    }

    /// The rows of `ab/cd/ef`, turned.
    fn turned(number: u32) -> String {
        let (width, height, pixels) = Orientation::numbered(number).unwrap().turn::<1>(2, 3, b"abcdef".to_vec());
        assert_eq!(pixels.len(), width * height);
        pixels.chunks(width).map(String::from_utf8_lossy).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn pictures_are_turned_as_exif_says() {
        let expected = ["ab/cd/ef", "ba/dc/fe", "fe/dc/ba", "ef/cd/ab", "ace/bdf", "eca/fdb", "fdb/eca", "bdf/ace"];
        for (number, expected) in (1..).zip(expected) {
            assert_eq!(turned(number), expected, "{number}");
        }
    }
}

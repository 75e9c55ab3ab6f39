//! Whether all of a JPEG stream is there. Decoders fill in what is missing, so that a file cut in half is a picture with a grey half;
//! here the entropy-coded data are followed, and no pixel is made.
//!
//! Followed are the Huffman-coded processes of ITU-T T.81: baseline, extended, progressive and lossless. Of the others (arithmetic coding,
//! hierarchical, JPEG-LS) only the end of the image is looked for.

/// Whether every block of every scan of a JPEG stream is there, and the end of the image behind them. What follows the end is of no
/// account.
///
/// `false` also of bytes that do not begin as a JPEG stream does, that contradict themselves on the way, or whose frame has more than
/// 16384 lines or columns or 64 million pixels. Takes a byte of memory
/// for eight pixels at most, and less time than decoding.
pub fn jpeg_is_whole(bytes: &[u8]) -> bool {
    follow(bytes).is_some_and(|end| end == End::Whole)
}

/// More lines or columns are no frame that is followed.
const MAX_SIDE: usize = 16384;
/// Nor are more pixels.
const MAX_PIXELS: usize = 1 << 26;
/// A progressive picture has a dozen scans.
const MAX_SCANS: usize = 100;

#[derive(PartialEq)]
enum End {
    Whole,
    Missing,
}

/// What a Huffman table says: the codes of each length, and their values.
#[derive(Clone)]
struct Huffman {
    /// The first 16-bit word, left-aligned, that is beyond the codes of each length up to 16.
    beyond: [u32; 16],
    /// Place of a length's first value, less its first code.
    offset: [i32; 16],
    values: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8], values: &[u8]) -> Option<Huffman> {
        let (mut code, mut place) = (0u32, 0i32);
        let (mut beyond, mut offset) = ([0; 16], [0; 16]);
        for (length, count) in counts.iter().enumerate() {
            offset[length] = place - code as i32;
            code += u32::from(*count);
            place += i32::from(*count);
            if code > 1 << (length + 1) {
                return None;
            }
            beyond[length] = code << (15 - length);
            code <<= 1;
        }
        Some(Huffman { beyond, offset, values: values.to_vec() })
    }
}

/// The bits between two markers.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `word` yet; it stops at a marker.
    at: usize,
    /// The next bits, the first one highest.
    word: u64,
    held: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.held <= 48 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xff, 0x00, ..]) => {
                    self.at += 2;
                    0xff
                }
                Some([0xff, ..]) | Some([]) | None => return,
                Some([byte, ..]) => {
                    self.at += 1;
                    *byte
                }
            };
            self.word |= u64::from(byte) << (56 - self.held);
            self.held += 8;
        }
    }

    /// The next `count` bits, at most 16; `None` where a marker or the end comes first.
    fn take(&mut self, count: u32) -> Option<u32> {
        if self.held < count {
            self.fill();
        }
        if self.held < count {
            return None;
        }
        let bits = if count == 0 { 0 } else { (self.word >> (64 - count)) as u32 };
        self.word <<= count;
        self.held -= count;
        Some(bits)
    }

    /// The value of the next code.
    fn value(&mut self, table: &Huffman) -> Option<u8> {
        if self.held < 16 {
            self.fill();
        }
        let next = (self.word >> 48) as u32;
        let length = table.beyond.iter().position(|beyond| next < *beyond)?;
        let code = self.take(length as u32 + 1)?;
        table.values.get(usize::try_from(code as i32 + table.offset[length]).ok()?).copied()
    }

    /// Passes the marker of restart `number`, which is next but for the bits that fill up a byte.
    fn restart(&mut self, number: usize) -> Option<()> {
        self.word = 0;
        self.held = 0;
        while self.bytes.get(self.at..)?.starts_with(&[0xff, 0xff]) {
            self.at += 1;
        }
        let expected = [0xff, 0xd0 + (number % 8) as u8];
        self.bytes[self.at..].starts_with(&expected).then(|| self.at += 2)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Process {
    Sequential,
    Progressive,
    Lossless,
}

struct Component {
    id: u8,
    /// Sampling factors: vertical, horizontal.
    sampling: [usize; 2],
    /// Blocks (lossless: samples) that hold the picture: down, across.
    size: [usize; 2],
    /// The same with what fills up interleaved units.
    padded: [usize; 2],
    /// Of each block of a progressive frame, the coefficients that are not zero.
    nonzero: Vec<u64>,
    /// How many of the last bits of each coefficient are still to come.
    bits_to_come: [Option<u8>; 64],
}

struct Frame {
    process: Process,
    /// Interleaved units: down, across.
    units: [usize; 2],
    components: Vec<Component>,
}

impl Frame {
    /// The frame that a header announces; `None` where it is damaged, or of a size that is not followed.
    fn new(process: Process, header: &[u8]) -> Option<Frame> {
        let [_, rows1, rows0, columns1, columns0, count, parts @ ..] = header else { return None };
        let side = |high: &u8, low: &u8| usize::from(*high) << 8 | usize::from(*low);
        let sides = [side(rows1, rows0), side(columns1, columns0)];
        let parts = parts.get(..3 * usize::from(*count)).filter(|parts| !parts.is_empty())?;
        let sampling: Vec<[usize; 2]> =
            parts.chunks_exact(3).map(|part| [usize::from(part[1] & 15), usize::from(part[1] >> 4)]).collect();
        if sides.iter().any(|side| !(1..=MAX_SIDE).contains(side))
            || sides[0] * sides[1] > MAX_PIXELS
            || *count > 4
            || sampling.iter().flatten().any(|factor| !(1..=4).contains(factor))
        {
            return None;
        }
        let block = if process == Process::Lossless { 1 } else { 8 };
        let most = [0, 1].map(|axis| sampling.iter().map(|factors| factors[axis]).max().unwrap_or(1));
        let units = [0, 1].map(|axis| sides[axis].div_ceil(block * most[axis]));
        let components = parts
            .chunks_exact(3)
            .zip(&sampling)
            .map(|(part, sampling)| {
                let padded = [0, 1].map(|axis| units[axis] * sampling[axis]);
                let blocks = if process == Process::Progressive { padded[0] * padded[1] } else { 0 };
                Component {
                    id: part[0],
                    sampling: *sampling,
                    size: [0, 1].map(|axis| (sides[axis] * sampling[axis]).div_ceil(most[axis]).div_ceil(block)),
                    padded,
                    nonzero: vec![0; blocks],
                    bits_to_come: [None; 64],
                }
            })
            .collect();
        Some(Frame { process, units, components })
    }

    /// Whether every coefficient of every component has come to its last bit.
    fn is_whole(&self) -> bool {
        self.components.iter().all(|component| component.bits_to_come.iter().all(|bits| *bits == Some(0)))
    }
}

/// One scan's part in a frame.
struct Scan {
    /// Component, and its tables.
    parts: Vec<(usize, Option<Huffman>, Option<Huffman>)>,
    /// Coefficients.
    band: [usize; 2],
    /// Bits that earlier scans left, and that this one leaves.
    bits: [u8; 2],
    /// Blocks that an end of bands still covers.
    run: u32,
}

/// What is known on the way.
#[derive(Default)]
struct Tables {
    /// Of DC or lossless differences, and of AC.
    huffman: [[Option<Huffman>; 4]; 2],
    /// Units from one restart to the next; 0 is none.
    interval: usize,
}

fn follow(bytes: &[u8]) -> Option<End> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let mut scans = 0;
    loop {
        // Bytes before a marker are passed over, as decoders do.
        let at = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            0xd9 => return Some(if frame?.is_whole() { End::Whole } else { End::Missing }),
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        let segment = rest.get(2..length)?;
        match marker {
            0xc4 => tables.define(segment)?,
            0xdd => tables.interval = usize::from(u16::from_be_bytes(*segment.first_chunk()?)),
            0xc0..=0xc3 if frame.is_none() => {
                let process = match marker {
                    0xc2 => Process::Progressive,
                    0xc3 => Process::Lossless,
                    _ => Process::Sequential,
                };
                frame = Some(Frame::new(process, segment)?);
            }
            // Other processes, and a number of lines that stands behind the first scan.
            0xc5..=0xc7 | 0xc9..=0xcf | 0xf7 | 0xdc => return ends(rest),
            0xda => {
                scans += 1;
                let frame = frame.as_mut().filter(|_| scans <= MAX_SCANS)?;
                let mut bits = Bits { bytes: rest, at: length, word: 0, held: 0 };
                frame.scan(&tables, segment, &mut bits)?;
                rest = &rest[bits.at..];
                continue;
            }
            _ => {}
        }
        rest = &rest[length..];
    }
}

/// Whether the end of an image comes.
fn ends(rest: &[u8]) -> Option<End> {
    rest.windows(2).any(|pair| pair == [0xff, 0xd9]).then_some(End::Whole)
}

impl Tables {
    fn define(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let (counts, rest) = rest.split_at_checked(16)?;
            let (values, rest) = rest.split_at_checked(counts.iter().map(|count| usize::from(*count)).sum())?;
            *self.huffman.get_mut(usize::from(kind >> 4))?.get_mut(usize::from(kind & 15))? = Some(Huffman::new(counts, values)?);
            segment = rest;
        }
        Some(())
    }
}

impl Frame {
    /// Follows a scan to its last unit; `None` where its data end before, or are damaged.
    fn scan(&mut self, tables: &Tables, header: &[u8], bits: &mut Bits) -> Option<()> {
        let [count, header @ ..] = header else { return None };
        let (parts, header) = header.split_at_checked(2 * usize::from(*count))?;
        let [first, last, approximation, ..] = header else { return None };
        let parts: Option<Vec<_>> = parts
            .chunks_exact(2)
            .map(|part| {
                let component = self.components.iter().position(|component| component.id == part[0])?;
                let table = |kind: usize, at: u8| tables.huffman[kind].get(usize::from(at)).cloned().flatten();
                Some((component, table(0, part[1] >> 4), table(1, part[1] & 15)))
            })
            .collect();
        let (band, approximations) = match self.process {
            Process::Progressive => ([usize::from(*first), usize::from(*last)], [approximation >> 4, approximation & 15]),
            _ => ([0, 63], [0, 0]),
        };
        let mut scan = Scan { parts: parts.filter(|parts| !parts.is_empty())?, band, bits: approximations, run: 0 };
        let valid =
            band[0] <= band[1] && band[1] < 64 && (self.process != Process::Progressive || (band[0] == 0) == (band[1] == 0));
        if !valid || band[0] > 0 && scan.parts.len() > 1 {
            return None;
        }
        let units = match scan.parts[..] {
            [(only, ..)] => self.components[only].size,
            _ => self.units,
        };
        let mut restarts = 0;
        for unit in 0..units[0] * units[1] {
            if tables.interval > 0 && unit > 0 && unit % tables.interval == 0 {
                bits.restart(restarts)?;
                restarts += 1;
                scan.run = 0;
            }
            self.unit(&mut scan, [unit / units[1], unit % units[1]], bits)?;
        }
        for (component, ..) in &scan.parts {
            for to_come in &mut self.components[*component].bits_to_come[band[0]..=band[1]] {
                *to_come = Some(approximations[1]);
            }
        }
        Some(())
    }

    /// Follows the blocks of one unit.
    fn unit(&mut self, scan: &mut Scan, [down, across]: [usize; 2], bits: &mut Bits) -> Option<()> {
        let interleaved = scan.parts.len() > 1;
        for (component, dc, ac) in &scan.parts {
            let Component { sampling, padded, nonzero, .. } = &mut self.components[*component];
            let sampling = if interleaved { *sampling } else { [1, 1] };
            for block in 0..sampling[0] * sampling[1] {
                let place = [down * sampling[0] + block / sampling[1], across * sampling[1] + block % sampling[1]];
                match self.process {
                    Process::Lossless => difference(bits, dc.as_ref()?)?,
                    Process::Sequential => {
                        difference(bits, dc.as_ref()?)?;
                        coefficients(bits, ac.as_ref()?, [1, 63], &mut 0, &mut 0)?;
                    }
                    Process::Progressive => match (scan.band[0], scan.bits[0]) {
                        (0, 0) => difference(bits, dc.as_ref()?)?,
                        (0, _) => drop(bits.take(1)?),
                        (_, earlier) => {
                            let nonzero = nonzero.get_mut(place[0] * padded[1] + place[1])?;
                            let follow = if earlier == 0 { coefficients } else { refinements };
                            follow(bits, ac.as_ref()?, scan.band, &mut scan.run, nonzero)?;
                        }
                    },
                }
            }
        }
        Some(())
    }
}

/// A difference: its number of bits, and these; 16 stands for one value without bits.
fn difference(bits: &mut Bits, table: &Huffman) -> Option<()> {
    let count = bits.value(table).filter(|count| *count <= 16)?;
    bits.take(if count == 16 { 0 } else { count.into() }).map(drop)
}

/// The coefficients of a band that a scan brings first, with the run of blocks that an end of bands covers (F.1.2.2, G.1.2.2).
fn coefficients(bits: &mut Bits, table: &Huffman, [first, last]: [usize; 2], run: &mut u32, nonzero: &mut u64) -> Option<()> {
    if *run > 0 {
        *run -= 1;
        return Some(());
    }
    let mut at = first;
    while at <= last {
        let value = bits.value(table)?;
        let (zeros, size) = (u32::from(value >> 4), u32::from(value & 15));
        match (zeros, size) {
            (15, 0) => at += 16,
            (_, 0) => {
                *run = (1 << zeros) - 1 + bits.take(zeros)?;
                return Some(());
            }
            _ => {
                at += zeros as usize;
                bits.take(size)?;
                if at > last {
                    return None;
                }
                *nonzero |= 1 << at;
                at += 1;
            }
        }
    }
    Some(())
}

/// The next bit of the coefficients of a band that are not zero, and those that become so (G.1.2.3).
fn refinements(bits: &mut Bits, table: &Huffman, [first, last]: [usize; 2], run: &mut u32, nonzero: &mut u64) -> Option<()> {
    let mut at = first;
    while *run == 0 && at <= last {
        let value = bits.value(table)?;
        let (mut zeros, size) = (u32::from(value >> 4), u32::from(value & 15));
        match (zeros, size) {
            (_, 1) => drop(bits.take(1)?),
            (15, 0) => {}
            (_, 0) => {
                *run = (1 << zeros) + bits.take(zeros)?;
                break;
            }
            _ => return None,
        }
        while at <= last {
            if *nonzero >> at & 1 == 1 {
                bits.take(1)?;
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            at += 1;
        }
        if size == 1 {
            if at > last {
                return None;
            }
            *nonzero |= 1 << at;
        }
        at += 1;
    }
    if *run > 0 {
        while at <= last {
            bits.take((*nonzero >> at & 1) as u32)?;
            at += 1;
        }
        *run -= 1;
    }
    Some(())
}

//! Hostile files: each is read or refused in one sentence, without a panic, within 512 MB and one second. Memory is counted by this
//! program's allocator, that of what the test itself holds included.

mod scan;

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use flate2::{Compress, Compression, FlushCompress};
use osteon::dicom::{self, Contents, MAX_FILE_BYTES};
use osteon::image::Image;
use osteon::intake::picture;
use osteon::intake::study::{self, Cell, RowOptions, StudyOptions};
use scan::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the issue promises for any file of at most 256 MB.
const MAX_MEMORY: usize = 512 << 20;
const MAX_TIME: Duration = Duration::from_secs(1);

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, SeqCst) + bytes, SeqCst);
}

// SAFETY: all is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), SeqCst);
        unsafe { System.dealloc(place, layout) }
    }

    /// The old and the new place may both be there for a moment.
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        let new = unsafe { System.realloc(place, layout, size) };
        LIVE.fetch_sub(layout.size(), SeqCst);
        new
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The worst of the files that a test tried.
#[derive(Default)]
struct Worst {
    memory: usize,
    time: Duration,
    files: usize,
    read: usize,
}

impl Drop for Worst {
    fn drop(&mut self) {
        let Worst { memory, time, files, read } = self;
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        println!("{name}: {files} files, {read} read, at most {} KB and {time:?}", *memory >> 10);
    }
}

/// One test at a time, or one's memory would be the other's.
fn alone() -> (MutexGuard<'static, ()>, Worst) {
    static ONE: Mutex<()> = Mutex::new(());
    (ONE.lock().unwrap_or_else(PoisonError::into_inner), Worst::default())
}

impl Worst {
    /// Reads, within the bounds; what is refused comes back as the sentence. The best of three counts, as machines do other things.
    #[track_caller]
    fn attempt<T>(&mut self, read: impl Fn() -> osteon::Result<T>) -> Result<T, String> {
        let timed = || {
            PEAK.store(LIVE.load(SeqCst), SeqCst);
            let start = Instant::now();
            let result = read();
            (start.elapsed(), result)
        };
        let (mut time, mut result) = timed();
        for _ in 0..2 {
            if time >= MAX_TIME {
                drop(result);
                let again = timed();
                (time, result) = (time.min(again.0), again.1);
            }
        }
        let memory = PEAK.load(SeqCst);
        assert!(time < MAX_TIME, "{time:?}");
        assert!(memory < MAX_MEMORY, "{} MB", memory >> 20);
        (self.time, self.memory) = (self.time.max(time), self.memory.max(memory));
        (self.files, self.read) = (self.files + 1, self.read + usize::from(result.is_ok()));
        result.map_err(|error| {
            let said = error.to_string();
            let sentence = said.contains(": ") && said.contains("; ") && !said.contains(char::is_control) && said.len() < 400;
            assert!(sentence, "not one sentence: {said:?}");
            said
        })
    }

    #[track_caller]
    fn bytes(&mut self, bytes: &[u8]) -> Result<Contents, String> {
        self.attempt(|| dicom::read_bytes(bytes, "scan.dcm"))
    }

    /// The file is refused for this reason.
    #[track_caller]
    fn refuses(&mut self, bytes: &[u8], reason: &str) {
        let said = self.bytes(bytes).expect_err("it was read");
        assert!(said.starts_with(&format!("scan.dcm: {reason}")), "{said:?} instead of {reason:?}");
    }
}

/// Preamble and file meta group, then `data`.
fn file(transfer_syntax: &str, data: &[u8]) -> Vec<u8> {
    let mut uid = transfer_syntax.as_bytes().to_vec();
    uid.resize(uid.len().next_multiple_of(2), 0);
    let element = [b"\x02\0\x10\0UI", &(uid.len() as u16).to_le_bytes()[..], &uid].concat();
    [&[0; 128], &b"DICM"[..], &element, data].concat()
}

const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;
const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;

/// 0xFFFFFFF0 as it stands in a file, and where the number has its high byte first.
const HUGE: &[u8] = b"\xf0\xff\xff\xff";
const HUGE_BIG_ENDIAN: &[u8] = b"\xff\xff\xff\xf0";

#[test]
fn lengths_of_four_gigabytes_are_refused_wherever_they_stand() {
    let (_alone, mut worst) = alone();
    let cut = |tag: &str| format!("is cut short within element {tag}; copy or export it again from the archive");
    let sequence = b"\x54\0\x22\0SQ\0\0"; // Detector Information Sequence
    let item = b"\xfe\xff\x00\xe0";
    let undefined = b"\xff\xff\xff\xff";
    let inner = b"\x09\0\x01\x10OB\0\0"; // a private element
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("element", file(EXPLICIT, &[inner, HUGE, b"ab"].concat()), "(0009,1001)"),
        ("implicit element", file(IMPLICIT, &[b"\x10\0\x20\0", HUGE, b"ab"].concat()), "(0010,0020)"),
        ("big-endian element", file(BIG_ENDIAN, &[b"\0\x09\x10\x01OB\0\0", HUGE_BIG_ENDIAN, b"ab"].concat()), "(0009,1001)"),
        ("unknown element", file(EXPLICIT, &[b"\x09\0\x01\x10UN\0\0", HUGE, b"ab"].concat()), "(0009,1001)"),
        ("short of two bytes", file(EXPLICIT, b"\x28\0\x10\0US\xff\xff\x05\0"), "(0028,0010)"),
        ("sequence", file(EXPLICIT, &[&sequence[..], HUGE, item, &[0; 4]].concat()), "(0054,0022)"),
        ("item", file(EXPLICIT, &[&sequence[..], undefined, item, HUGE, &[0; 32]].concat()), "(0054,0022)"),
        (
            "item of a sized sequence",
            file(EXPLICIT, &[&sequence[..], b"\x10\0\0\0", item, HUGE, &[0; 8]].concat()),
            "(0054,0022)",
        ),
        (
            "implicit item of a sized sequence",
            file(IMPLICIT, &[b"\x54\0\x22\0\x10\0\0\0", &item[..], HUGE, &[0; 8]].concat()),
            "(0054,0022)",
        ),
        (
            "element of an item",
            file(EXPLICIT, &[&sequence[..], undefined, item, undefined, inner, HUGE, &[0; 32]].concat()),
            "(0009,1001)",
        ),
        (
            "element of a sized item of a sized sequence that nobody asks for",
            file(EXPLICIT, &[b"\x09\0\x02\x10SQ\0\0\x14\0\0\0", &item[..], b"\x0c\0\0\0", inner, HUGE, &[0; 64]].concat()),
            "(0009,1001)",
        ),
        ("pixel data", file(EXPLICIT, &[b"\xe0\x7f\x10\0OW\0\0", HUGE, b"ab"].concat()), "(7FE0,0010)"),
        (
            "fragment",
            file(uids::RLE_LOSSLESS, &[b"\xe0\x7f\x10\0OB\0\0", &undefined[..], item, &[0; 4], item, HUGE, &[0; 64]].concat()),
            "(7FE0,0010)",
        ),
        ("file meta element", [&[0; 128], &b"DICM\x02\0\x01\0OB\0\0"[..], HUGE, &[0; 64]].concat(), "(0002,0001)"),
    ];
    for (name, bytes, tag) in cases {
        println!("{name}");
        worst.refuses(&bytes, &cut(tag));
    }
    // Fragments that nest, and items that never end.
    let nested = [b"\xe0\x7f\x10\0OB\0\0", &undefined[..], item, undefined, &[0; 64]].concat();
    worst.refuses(&file(uids::RLE_LOSSLESS, &nested), "is damaged at element (7FE0,0010)");
    worst.refuses(&file(EXPLICIT, &[&sequence[..], undefined, item, undefined].concat()), &cut("(0054,0022)"));
    assert!(worst.memory < 1 << 20, "{} bytes", worst.memory);
}

#[test]
fn ten_thousand_levels_of_nesting_are_refused() {
    let (_alone, mut worst) = alone();
    const DEPTH: usize = 10_000;
    let delimited = |header: &[u8]| {
        let opened = [header, b"\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"].concat().repeat(DEPTH);
        [opened, b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0".repeat(DEPTH)].concat()
    };
    let sized = |header: &[u8]| {
        let mut bytes = Vec::new();
        for level in (1..=DEPTH).rev() {
            let item = (level - 1) * (header.len() + 12);
            bytes.extend([header, &(item as u32 + 8).to_le_bytes(), b"\xfe\xff\x00\xe0", &(item as u32).to_le_bytes()].concat());
        }
        bytes
    };
    let (explicit, unknown, implicit) = (b"\x54\0\x22\0SQ\0\0", b"\x09\0\x02\x10UN\0\0", b"\x54\0\x22\0");
    // An unknown value of undefined length is implicit inside.
    let unknown = [&unknown[..], b"\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", &delimited(implicit)[..]].concat();
    for data in [delimited(explicit), sized(explicit), unknown] {
        worst.refuses(&file(EXPLICIT, &data), "is damaged at element");
        worst.refuses(&file(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, &deflate(&data)), "is damaged at element");
    }
    for data in [delimited(implicit), sized(implicit)] {
        worst.refuses(&file(IMPLICIT, &data), "is damaged at element");
    }
}

#[test]
fn a_file_of_nothing_but_headers_is_refused() {
    let (_alone, mut worst) = alone();
    // 250 MB of empty elements, of empty items, and of empty fragments.
    let mut bytes = file(IMPLICIT, &[]);
    let start = bytes.len();
    bytes.resize(250 << 20, 0);
    let fill = |bytes: &mut [u8], head: &[u8], pattern: &[u8]| {
        bytes[..head.len()].copy_from_slice(head);
        bytes[head.len()..].chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(pattern));
    };
    fill(&mut bytes[start..], &[], b"\x09\0\x01\x10\0\0\0\0");
    worst.refuses(&bytes, "has more than 500000 elements");
    fill(&mut bytes[start..], b"\x54\0\x22\0\xff\xff\xff\xff", b"\xfe\xff\0\xe0\0\0\0\0");
    worst.refuses(&bytes, "has more than 500000 elements");
    drop(bytes);
    let mut bytes = file(uids::RLE_LOSSLESS, &[]);
    let start = bytes.len();
    bytes.resize(250 << 20, 0);
    fill(&mut bytes[start..], b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff", b"\xfe\xff\0\xe0\0\0\0\0");
    worst.refuses(&bytes, "has more than 500000 elements");
}

/// A CT series beside the scan: what it takes is printed, and is little.
#[test]
fn five_thousand_files_beside_a_scan_take_seconds_and_little_memory() {
    let (_alone, _) = alone();
    const FILES: usize = 5000;
    let folder = tempfile::tempdir().unwrap();
    let ct = scan::Scan { rows: 256, columns: 256, words: (0..=65535).collect(), ..scan::Scan::default() }
        .with(scan::text(tags::MODALITY, VR::CS, "CT"))
        .with(scan::text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.1000000"));
    let mut bytes = ct.bytes();
    let uid = bytes.windows(12).position(|window| window == b"2.25.1000000").unwrap();
    for number in 0..FILES {
        bytes[uid + 5..uid + 12].copy_from_slice(format!("{:07}", 1_000_000 + number).as_bytes());
        let series = folder.path().join(format!("SE{}", number / 500));
        fs::create_dir_all(&series).unwrap();
        fs::write(series.join(format!("IM{number}")), &bytes).unwrap();
    }
    fs::write(folder.path().join("SE3/scan"), scan::Scan::default().with(scan::text(tags::MODALITY, VR::CS, "NM")).bytes())
        .unwrap();
    let (before, start) = (LIVE.load(SeqCst), Instant::now());
    PEAK.store(before, SeqCst);
    let options = StudyOptions { any_image: false, single_view: true, ..StudyOptions::default() };
    let said = study::read(&[folder.path().to_owned()], &options).expect_err("this scan shows no body").to_string();
    let (time, memory) = (start.elapsed(), PEAK.load(SeqCst) - before);
    assert!(said.contains("SE3/scan: shows no body"), "{said}");
    println!("{FILES} files of {} KB beside the scan: {time:?}, {} KB", bytes.len() >> 10, memory >> 10);
    assert!(time < Duration::from_secs(20) && memory < 16 << 20, "{time:?} {memory} bytes");
}

/// The same data sets where a file lacks what PS3.10 asks for, or names another transfer syntax than it has.
#[test]
fn hostile_data_sets_are_refused_in_every_form_of_file() {
    let (_alone, mut worst) = alone();
    const DEPTH: usize = 10_000;
    let begun = b"\x08\0\x05\0CS\x0a\0ISO_IR 100\x08\0\x60\0CS\x02\0NM\x10\0\x20\0LO\x02\0p1";
    let begun_implicit = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100\x08\0\x60\0\x02\0\0\0NM\x10\0\x20\0\x02\0\0\0p1";
    let opened = |header: &[u8]| [header, b"\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"].concat().repeat(DEPTH);
    let (explicit, implicit) = (b"\x54\0\x22\0SQ\0\0", b"\x54\0\x22\0");
    let hostile: [(&[u8], Vec<u8>); 6] = [
        (begun, [&explicit[..], HUGE, &[0; 64]].concat()),
        (begun, opened(explicit)),
        (begun, [b"\xe0\x7f\x10\0OW\0\0", HUGE, b"ab"].concat()),
        (begun_implicit, [&implicit[..], HUGE, &[0; 64]].concat()),
        (begun_implicit, opened(implicit)),
        (begun_implicit, [b"\xe0\x7f\x10\0", HUGE, b"ab"].concat()),
    ];
    for (begun, data) in hostile {
        let data = [begun, &data[..]].concat();
        let meta = &file(EXPLICIT, &[])[132..];
        let forms = [
            data.clone(),
            [&[0; 128], &b"DICM"[..], &data].concat(),
            [meta, &data].concat(),
            [b"DICM", meta, &data].concat(),
            file(EXPLICIT, &data),
            file(IMPLICIT, &data),
            file(BIG_ENDIAN, &data),
            file(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, &deflate(&data)),
            file(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, &data),
        ];
        for bytes in forms {
            worst.bytes(&bytes).expect_err("it was read");
            let _ = worst.attempt(|| dicom::header_of("scan.dcm", bytes.len() as u64, &bytes[..]));
        }
    }
    assert!(worst.memory < 8 << 20, "{} bytes", worst.memory);
    // What is cut off after every byte, with and without what stands before the data set.
    let whole = scan::Scan::default().with(scan::text(tags::MODALITY, VR::CS, "NM")).bytes();
    let data = 144 + u32::from_le_bytes(whole[140..144].try_into().unwrap()) as usize;
    for start in [0, 128, 132, data] {
        for end in start..whole.len() {
            worst.bytes(&whole[start..end]).expect_err("it was read");
        }
        assert!(worst.bytes(&whole[start..]).is_ok(), "from {start}");
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A ZIP archive of these deflated entries, each said to have this length and this checksum.
fn zip(entries: &[(&str, &[u8], u32, u32)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, deflated, length, checksum) in entries {
        let [size, length, offset] = [deflated.len() as u32, *length, bytes.len() as u32].map(u32::to_le_bytes);
        let checksum = checksum.to_le_bytes();
        let name_length = (name.len() as u16).to_le_bytes();
        let common = [&b"\x14\0\0\0\x08\0\0\0\0\0"[..], &checksum, &size, &length, &name_length, &[0, 0]].concat();
        bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), deflated].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &offset, name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let [size, offset] = [directory.len() as u32, bytes.len() as u32].map(u32::to_le_bytes);
    bytes.extend(directory);
    bytes.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &offset, &[0, 0]].concat());
    bytes
}

#[test]
fn hostile_zip_archives_are_refused() {
    let (_alone, mut worst) = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    let mut refuses = |bytes: &[u8], reason: &str| {
        fs::write(&path, bytes).unwrap();
        let said = worst.attempt(|| study::read(std::slice::from_ref(&path), &StudyOptions::default())).expect_err("it was read");
        assert!(said.contains(reason), "{reason} not in: {said}");
    };
    // What inflates to 16 GB of an element before the pixels, and says it has 16 MB, 200 MB or 4 GB.
    let header = b"\x08\0\x05\0CS\x0a\0ISO_IR 100\x08\0\x60\0CS\x02\0NM\x09\0\x01\x10OB\0\0\xf0\xff\xff\xff";
    let bomb = bomb(header, 16 << 10);
    for length in [16 << 20, 200 << 20] {
        refuses(&zip(&[("IM0", &bomb, length, 0)]), "holds no whole-body bone scan, but IM0 (");
    }
    refuses(&zip(&[("IM0", &bomb, u32::MAX - 1, 0)]), "IM0 (has more than 256 MB)");
    // Pixels that go on after the picture.
    let scan = scan::Scan::default().bytes();
    let pixels = self::bomb(&scan, 1024);
    refuses(&zip(&[("IM0", &pixels, scan.len() as u32, 0)]), "IM0 (is cut short or damaged within its ZIP archive)");
    // Names that lead out of the archive stay in it.
    let (text, sum) = (deflate(b"text"), checksum(b"text"));
    refuses(&zip(&[("../../etc/passwd", &text, 4, sum), ("/a", &text, 4, sum)]), "but a, etc/passwd (no image)");
    // Sixty thousand names of one place.
    let names: Vec<String> = (0..60_000).map(|number| format!("IM{number}")).collect();
    let entries: Vec<(&str, &[u8], u32, u32)> = names.iter().map(|name| (name.as_str(), &text[..], 4, sum)).collect();
    refuses(&zip(&entries), "and 59995 more (no image)");
    refuses(b"PK\x03\x04 and nothing else", "is a ZIP archive that is cut short or damaged");
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + 1024);
    Compress::new(Compression::fast(), false).compress_vec(data, &mut bytes, FlushCompress::Finish).unwrap();
    bytes
}

/// What inflates to `data` and then `times` as many mebibytes of zeros.
fn bomb(data: &[u8], times: usize) -> Vec<u8> {
    let piece = |data: &[u8]| {
        let mut bytes = Vec::with_capacity(data.len() + 1024);
        // Ends at a byte and refers to nothing before it, so that it may be said again and again.
        Compress::new(Compression::best(), false).compress_vec(data, &mut bytes, FlushCompress::Full).unwrap();
        bytes
    };
    [piece(data), piece(&vec![0; 1 << 20]).repeat(times), deflate(&[])].concat()
}

#[test]
fn deflate_bombs_are_refused() {
    let (_alone, mut worst) = alone();
    let header = b"\x09\0\x01\x10OB\0\0\xf0\xff\xff\xff";
    let small = bomb(header, 1);
    worst.refuses(&file(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, &small), "is cut short within element (0009,1001)");
    let bomb = bomb(header, 16 << 10); // 16 GB
    assert!(bomb.len() < 32 << 20, "{} MB", bomb.len() >> 20);
    worst.refuses(&file(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, &bomb), "inflates to more than 64 MB");
    worst.refuses(&file(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, &bomb[..bomb.len() / 400]), "its deflated data is cut short");
}

/// The largest pictures: 8 million pixels, almost all of them zero, in as few bytes as each encoding needs.
fn largest() -> [Scan; 4] {
    let [rows, columns] = [4096_u16, 2048];
    let mut words = vec![0; 4096 * 2048];
    words[5] = 9;
    let scan = |transfer_syntax| Scan { transfer_syntax, rows, columns, words: words.clone(), ..Scan::default() };
    let grey = |transfer_syntax| Scan { bits: [8, 8, 7], ..scan(transfer_syntax) };
    [
        scan(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        scan(uids::RLE_LOSSLESS),
        grey(uids::JPEG_BASELINE8_BIT),
        grey(uids::JPEG_LOSSLESS_SV1),
    ]
}

#[test]
fn the_largest_pictures_are_read_within_the_bounds() {
    let (_alone, mut worst) = alone();
    for scan in largest() {
        let bytes = scan.bytes();
        let start = Instant::now();
        let frames = worst.bytes(&bytes).unwrap().frames;
        assert_eq!((frames[0].image.rows, frames[0].image.columns), (4096, 2048));
        println!("{}: {} bytes, {:?}", scan.transfer_syntax, bytes.len(), start.elapsed());
        // One pixel more is refused whatever the bytes are.
        worst.refuses(&scan.with(short(tags::COLUMNS, 2049)).bytes(), "its header says 1 frame of 4096x2049 pixels");
    }
    // The same in a file of 256 MB: behind a private element of almost all of them.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("padded.dcm");
    let [_, rle, ..] = largest();
    let bytes = rle.bytes();
    let data = bytes.windows(4).position(|tag| tag == b"\x28\0\x02\0").unwrap(); // the first element of the data set
    let padding = MAX_FILE_BYTES as u32 - bytes.len() as u32 - 12;
    let mut padded = File::create(&path).unwrap();
    padded.write_all(&[&bytes[..data], b"\x09\0\x01\x10OB\0\0", &padding.to_le_bytes()].concat()).unwrap();
    padded.seek(SeekFrom::Current(padding.into())).unwrap();
    padded.write_all(&bytes[data..]).unwrap();
    assert_eq!(padded.metadata().unwrap().len(), MAX_FILE_BYTES);
    worst.attempt(|| dicom::read(&path)).unwrap();
}

/// A progressive JPEG of `rows` x `columns` pixels whose every scan says in a few bytes that no block changes.
fn progressive(rows: u16, columns: u16, scans: usize) -> Vec<u8> {
    let [[y1, y0], [x1, x0]] = [rows, columns].map(u16::to_be_bytes);
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    bytes.extend([1; 64]);
    bytes.extend([0xff, 0xc2, 0, 11, 8, y1, y0, x1, x0, 1, 1, 0x11, 0]);
    // One code of one bit each: for direct current no difference, for the rest 2^14 blocks and 14 bits more without a value.
    for (class, symbol) in [(0x00, 0), (0x10, 0xe0)] {
        bytes.extend([0xff, 0xc4, 0, 20, class, 1]);
        bytes.extend([0; 15]);
        bytes.push(symbol);
    }
    let blocks = usize::from(rows).div_ceil(8) * usize::from(columns).div_ceil(8);
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0]);
    bytes.extend(vec![0; blocks.div_ceil(8)]);
    for scan in 1..scans {
        let at = 1 + ((scan - 1) % 63) as u8;
        bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, at, at, 0]);
        bytes.extend(vec![0; blocks.div_ceil(1 << 14) * 15 / 8 + 1]);
    }
    bytes.extend([0xff, 0xd9]);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

#[test]
fn codecs_see_no_more_than_their_share() {
    let (_alone, mut worst) = alone();
    let base = Scan {
        transfer_syntax: uids::JPEG_BASELINE8_BIT,
        rows: 4096,
        columns: 2048,
        bits: [8, 8, 7],
        words: vec![0; 4096 * 2048],
        ..Scan::default()
    };
    let with = |scan: &Scan, stream: Vec<u8>| {
        scan.clone().with(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![stream]))).bytes()
    };
    // Passes over 8 million pixels that a few bytes ask for: as many as are allowed, and more.
    let said = worst.bytes(&with(&base, progressive(4096, 2048, 64))).unwrap_err();
    assert!(said.starts_with("scan.dcm: every pixel of its frame 1 is 128"), "{said}");
    worst.refuses(&with(&base, progressive(4096, 2048, 65)), "its JPEG data has more than 64 scans");
    // A stream of other dimensions than the header's, both ways.
    let small = Scan { rows: 16, columns: 16, words: vec![0; 256], ..base.clone() };
    worst.refuses(
        &with(&small, progressive(65000, 65000, 1)[..200].to_vec()),
        "its header says 16x16 pixels of 8 bits, its compressed pixels 65000x65000x1",
    );
    worst.refuses(
        &with(&base, jpeg(&[0; 256], 16, 16)),
        "its header says 4096x2048 pixels of 8 bits, its compressed pixels 16x16x1",
    );
    // Compressed to more than it was.
    let rle = Scan { transfer_syntax: uids::RLE_LOSSLESS, rows: 16, columns: 16, words: vec![0; 256], ..Scan::default() };
    worst.refuses(&with(&rle, vec![128; 1 << 20]), "its pixels take 1048576 bytes compressed and 512 uncompressed");
    // Frames beyond the budget.
    for (frames, said) in [("65", "65 frames of 4x3 pixels"), ("4294967295", "4294967295 frames of 4x3 pixels")] {
        let frames = text(tags::NUMBER_OF_FRAMES, VR::IS, frames);
        worst.refuses(&Scan::default().with(frames).bytes(), &format!("its header says {said}, which no planar scan has"));
    }
    let deep = Scan { rows: 4096, columns: 2048, frames: 2, words: vec![1], ..Scan::default() };
    worst.refuses(&deep.bytes(), "its header says 2 frames of 4096x2048 pixels, which no planar scan has");
}

#[test]
fn pictures_are_bounded_too() {
    let (_alone, mut worst) = alone();
    let mut read = |bytes: &[u8]| worst.attempt(|| picture::read_bytes(bytes, "a.png").map(|picture| picture.image));
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut check = flate2::Crc::new();
        check.update(kind);
        check.update(data);
        [&(data.len() as u32).to_be_bytes(), &kind[..], data, &check.sum().to_be_bytes()].concat()
    };
    let zlib = |mebibytes| [b"\x78\x9c", &bomb(&[], mebibytes)[..], &[0; 4]].concat();
    let header = |rows: u32, columns: u32| {
        let header = [&columns.to_be_bytes()[..], &rows.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
        [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header)].concat()
    };
    let end = chunk(b"IEND", &[]);
    let refused = |said: Result<Image, String>, reason: &str| {
        let said = said.expect_err("it was read");
        assert!(said.starts_with(&format!("a.png: {reason}")), "{said}");
    };
    for side in [16384, 16385, u32::MAX >> 1] {
        let reason = if side > 16384 { "has more than 16384 rows or columns" } else { "has 16384x16384 pixels" };
        refused(read(&[header(side, side), chunk(b"IDAT", &zlib(1)), end.clone()].concat()), reason);
    }
    // A gigabyte where 4 pixels are expected, and in a colour profile and a comment beside them.
    let black = |read: Result<Image, String>| assert!(read.is_err(), "zeros are no scan");
    black(read(&[header(2, 2), chunk(b"IDAT", &zlib(1024)), end.clone()].concat()));
    let profile = chunk(b"iCCP", &[&b"p\0\0"[..], &zlib(1024)].concat());
    let comment = chunk(b"zTXt", &[&b"p\0\0"[..], &zlib(1024)].concat());
    black(read(&[header(2, 2), profile, comment, chunk(b"IDAT", &zlib(1)), end].concat()));
    black(read(&progressive(4096, 2048, 65)));
    black(read(&progressive(65000, 16000, 1)));
}

/// Reads every proper prefix of a file.
#[test]
fn every_truncation_is_refused() {
    let (_alone, mut worst) = alone();
    for (name, bytes) in small_files() {
        worst.bytes(&bytes).unwrap_or_else(|said| panic!("{name}: {said}"));
        for length in 0..bytes.len() {
            assert!(worst.bytes(&bytes[..length]).is_err(), "{name}: {length} of {} bytes were read", bytes.len());
        }
    }
}

#[test]
fn a_hundred_thousand_damaged_files_are_read_or_refused() {
    let (_alone, mut worst) = alone();
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, SeqCst);
        before(panic);
    }));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let files = small_files();
    for case in 0..100_000 {
        let (name, whole) = &files[case % files.len()];
        let mut bytes = whole.clone();
        for _ in 0..1 + random(4) {
            // The preamble is nobody's.
            let at = 128 + random(bytes.len() - 128);
            bytes[at] = match random(3) {
                0 => 0xff,
                1 => bytes[at] ^ 1 << random(8),
                _ => random(256) as u8,
            };
        }
        let _ = worst.bytes(&bytes);
        assert_eq!(PANICS.load(SeqCst), 0, "case {case}, {name}");
    }
    drop(std::panic::take_hook());
    assert!((20_000..90_000).contains(&worst.read), "{} were read: most damage should matter, and some not", worst.read);
}

/// A file of holes.
fn sparse(folder: &Path, megabytes: u64) -> PathBuf {
    let path = folder.join(format!("{megabytes}.dcm"));
    File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
    path
}

#[test]
fn what_is_too_large_is_refused_unread() {
    let (_alone, mut worst) = alone();
    let folder = tempfile::tempdir().unwrap();
    let large = sparse(folder.path(), 300);
    let paths = [large.clone()];
    let said = [
        worst.attempt(|| study::read(&paths, &StudyOptions::default())).unwrap_err(),
        worst
            .attempt(|| study::read_manifest_row(Some(&Cell { path: large.clone(), frame: None }), None, RowOptions::default()))
            .unwrap_err(),
        worst.attempt(|| dicom::read(&large)).unwrap_err(),
    ];
    assert!(
        said[0].ends_with("300.dcm: has more than 256 MB; give the planar whole-body scan, or raise --max-file-size"),
        "{said:?}"
    );
    assert!(said[1..].iter().all(|said| said.ends_with("300.dcm: has more than 256 MB; give a smaller one")), "{said:?}");
    assert!(worst.memory < 1 << 20, "{} bytes", worst.memory);
    if cfg!(unix) {
        for endless in ["/dev/zero", "/dev/stdin"] {
            let said = worst.attempt(|| dicom::read(endless)).unwrap_err();
            assert!(said.ends_with("is not a file; give the path of a file") || endless == "/dev/stdin", "{said}");
        }
    }
    // A manifest's scans are hashed as well.
    let table = folder.path().join("manifest.csv");
    fs::write(&table, "patient,anterior,posterior,label\n1,300.dcm,,NoMet\n").unwrap();
    let manifest = osteon::archive::manifest::Manifest::read(&table).unwrap();
    let said = worst.attempt(|| manifest.fingerprints()).unwrap_err();
    assert!(said.contains("300.dcm: has more than 256 MB"), "{said}");
    fs::remove_file(&table).unwrap();
    let mut long = File::create(&table).unwrap();
    long.write_all(b"patient,anterior,posterior,label\n").unwrap();
    long.set_len(65 << 20).unwrap();
    let said = worst.attempt(|| osteon::archive::manifest::Manifest::read(&table)).unwrap_err();
    assert!(said.ends_with("manifest.csv: has more than 64 MB; give a smaller one"), "{said}");
    assert!(worst.memory < 1 << 20, "{} bytes", worst.memory);
}

#[test]
fn the_limit_on_a_files_size_is_an_option() {
    let (_alone, _) = alone();
    let folder = tempfile::tempdir().unwrap();
    let [small, large] = [2, 300].map(|megabytes| sparse(folder.path(), megabytes));
    let said = |scan: &Path, options: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_osteon"))
            .arg("fuse")
            .arg(scan)
            .args(options)
            .arg("--output")
            .arg(folder.path().join("out.png"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (scan, options, problem) in [
        (
            &small,
            &["--max-file-size", "1"][..],
            "2.dcm: has more than 1 MB; give the planar whole-body scan, or raise --max-file-size",
        ),
        (&small, &["--max-file-size", "2"], "2.dcm: is not a DICOM file"),
        (&large, &[], "300.dcm: has more than 256 MB; give the planar whole-body scan, or raise --max-file-size"),
        (&large, &["--max-file-size", "300"], "300.dcm: is not a DICOM file"),
    ] {
        let (code, said) = said(scan, options);
        assert!(code == Some(1) && said.contains(problem), "{code:?} {said}");
    }
    for wrong in ["0", "-1", "many", "99999999999999999"] {
        let (code, said) = said(&small, &[&format!("--max-file-size={wrong}")]);
        assert!(code == Some(2) && said.contains("--max-file-size"), "{code:?} {said}");
    }
}

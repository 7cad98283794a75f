//! Owns the row of a [`HostReading`].

use super::bytes::{Read, Reader, put_text, put_varint};
use super::fields::{get_option, put_option, small};
use super::labels::Labels;
use crate::model::{HostReading, ProcessReading, UnixMicros, Volume};

fn put_volume(out: &mut Vec<u8>, volume: Volume) {
    put_varint(out, volume.read);
    put_varint(out, volume.written);
}

fn get_volume(reader: &mut Reader<'_>) -> Read<Volume> {
    Ok(Volume { read: reader.varint()?, written: reader.varint()? })
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn get_float(reader: &mut Reader<'_>) -> Read<f64> {
    Ok(f64::from_bits(u64::from_le_bytes(reader.array()?)))
}

pub(super) fn put_host(out: &mut Vec<u8>, reading: &HostReading) {
    put_float(out, reading.cpu);
    put_varint(out, reading.memory_used);
    put_varint(out, reading.memory_available);
    put_varint(out, reading.memory_total);
    for devices in [&reading.disks, &reading.networks] {
        put_varint(out, devices.len() as u64);
        for (name, volume) in devices {
            put_text(out, name);
            put_volume(out, *volume);
        }
    }
    put_varint(out, reading.processes.len() as u64);
    for process in &reading.processes {
        put_text(out, process.role.as_str());
        put_varint(out, u64::from(process.pid));
        put_varint(out, process.started);
        put_float(out, process.cpu_seconds);
        put_varint(out, process.resident);
        put_option(out, process.open_files, put_varint);
        put_option(out, process.threads, put_varint);
        put_volume(out, process.disk);
    }
    put_varint(out, reading.databases.len() as u64);
    for (name, bytes) in &reading.databases {
        put_text(out, name);
        put_varint(out, *bytes);
    }
}

pub(super) fn get_host(
    reader: &mut Reader<'_>,
    at: UnixMicros,
    labels: &Labels,
) -> Read<HostReading> {
    let devices = |reader: &mut Reader<'_>| {
        (0..reader.length()?)
            .map(|_| Ok((reader.text()?.into(), get_volume(reader)?)))
            .collect::<Read<Vec<(Box<str>, Volume)>>>()
    };
    Ok(HostReading {
        at,
        cpu: get_float(reader)?,
        memory_used: reader.varint()?,
        memory_available: reader.varint()?,
        memory_total: reader.varint()?,
        disks: devices(reader)?,
        networks: devices(reader)?,
        processes: (0..reader.length()?)
            .map(|_| {
                Ok(ProcessReading {
                    role: labels.role(reader.text()?),
                    pid: small(reader.varint()?)?,
                    started: reader.varint()?,
                    cpu_seconds: get_float(reader)?,
                    resident: reader.varint()?,
                    open_files: get_option(reader, Reader::varint)?,
                    threads: get_option(reader, Reader::varint)?,
                    disk: get_volume(reader)?,
                })
            })
            .collect::<Read<Vec<_>>>()?,
        // Rows of version 0.1 end here.
        databases: if reader.0.is_empty() {
            Vec::new()
        } else {
            let database = |reader: &mut Reader<'_>| Ok((reader.text()?.into(), reader.varint()?));
            (0..reader.length()?).map(|_| database(reader)).collect::<Read<Vec<_>>>()?
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn a_row_without_databases_is_read_as_one_of_the_first_version() {
        let volume = Volume { read: 1, written: 2 };
        let process = ProcessReading {
            role: Role::known("flask"),
            pid: 7,
            started: 8,
            cpu_seconds: 0.5,
            resident: 9,
            open_files: None,
            threads: Some(3),
            disk: volume,
        };
        let reading = HostReading {
            at: UnixMicros(1),
            cpu: 0.25,
            memory_used: 1,
            memory_available: 2,
            memory_total: 3,
            disks: vec![("vda".into(), volume)],
            networks: Vec::new(),
            processes: vec![process, ProcessReading { pid: 9, ..process }],
            databases: vec![("marketplace.db".into(), 8_192)],
        };
        let mut row = Vec::new();
        put_host(&mut row, &reading);
        let get = |row: &[u8]| {
            let mut reader = Reader(row);
            let reading = get_host(&mut reader, UnixMicros(1), &Labels::default())?;
            reader.end().map(|()| reading)
        };
        assert_eq!(get(&row).unwrap(), reading);
        let databases = 1 + 1 + "marketplace.db".len() + 2;
        let first = HostReading { databases: Vec::new(), ..reading };
        assert_eq!(get(&row[..row.len() - databases]).unwrap(), first);
        assert!(get(&row[..row.len() - 1]).is_err());
    }
}

"""Coded concepts shared by SR, SEG and FHIR: one closed table, because no terminology server is at hand in a clinic."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: value, coding scheme designator as DICOM writes it (SCT, DCM, UCUM, LN) and meaning."""

    value: str
    scheme: str
    meaning: str


SYSTEM_URI: dict[str, str] = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
}

# Our own FHIR systems and extensions. The namespace is not registered with IANA, but it claims no host that is not
# ours, and a person who searches the record can read it, which an OID or a UUID would not allow.
REPORT_SYSTEM = "urn:dentgate:report"
REVISION_SYSTEM = "urn:dentgate:report-revision"
OBSERVATION_SYSTEM = "urn:dentgate:observation"
ALGORITHM_SYSTEM = "urn:dentgate:algorithm"
#: On the logical patient reference: what a record's patient is compared with; taken off before anything is sent.
BIRTH_DATE_EXTENSION = "urn:dentgate:patient-birth-date"
SEX_EXTENSION = "urn:dentgate:patient-sex"

TOOTH = Code("38199008", "SCT", "Tooth")  # CID 7192
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")  # CID 7150
JAW_REGION = Code("661005", "SCT", "Jaw region")  # CID 4016
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")  # CID 100, in every edition
BOUNDED_BY = Code("75958009", "SCT", "Bounded by")  # CID 219
ARTIFICIAL_INTELLIGENCE = Code("123109", "DCM", "Artificial Intelligence")  # CID 7162
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")
TOOTH_PRESENT = Code("278661005", "SCT", "Tooth present")
TOOTH_ABSENT = Code("234948008", "SCT", "Tooth absent")
PROCEDURE_FINDINGS = Code("59776-5", "LN", "Procedure findings")
PANORAMIC_REPORT = Code("24828-6", "LN", "XR tomography Mandible Panoramic")
IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic imaging study")
STUDY_UID = Code("110180", "DCM", "Study Instance UID")
RADIOLOGY_CATEGORY = Code("LP29684-5", "LN", "Radiology")


@dataclass(frozen=True, slots=True)
class FindingCodes:
    """How a kind of finding is coded.

    Attributes:
        finding: the concept as DICOM Finding (SR) and segmented property type (SEG).
        category: finding category, CID 7150.
        answer: the concept as the value of a FHIR Observation.
    """

    finding: Code
    category: Code
    answer: Code


FINDINGS: dict[str, FindingCodes] = {
    "tooth": FindingCodes(finding=TOOTH, category=ANATOMICAL_STRUCTURE, answer=TOOTH_PRESENT),
}

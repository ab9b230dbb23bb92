"""Teach: labelled photos in, and whether they are ready to be learnt from."""

from typing import Final

TEXTS: Final = {
    "teach_title": ("Teach it more", "더 가르치기"),
    "teach_intro": (
        "Add photos with their labels to a data set. The same photo is kept only once.",
        "이름표를 붙인 사진을 데이터에 추가합니다. 같은 사진은 한 번만 저장합니다.",
    ),
    "dataset": ("Data set", "데이터"),
    "dataset_help": (
        "Choose one, or type a new name.",
        "고르거나 새 이름을 입력하세요.",
    ),
    "dataset_new": ("a name, such as pills-2026", "이름, 예: pills-2026"),
    "add_title": ("Add photos", "사진 추가"),
    "add_how": ("What you have", "가지고 있는 자료"),
    "add_photos": ("Photos of one thing", "한 종류의 사진"),
    "add_zip": ("A zip file", "zip 파일"),
    "zip_help": (
        "One folder a label, photos with AI-Hub JSON files, or YOLO text files. The labels come "
        "from the zip.",
        "이름표마다 폴더 하나, 또는 사진과 AI-Hub JSON 파일, 또는 YOLO 텍스트 파일. 이름표는 "
        "zip에서 읽습니다.",
    ),
    "add_label": ("What do they show?", "무엇을 찍은 사진인가요?"),
    "add_label_help": (
        "Choose what is known already, or type a new label.",
        "이미 아는 것 중에서 고르거나 새 이름표를 입력하세요.",
    ),
    "add_label_new": ("a label", "이름표"),
    "add_go": ("Add", "추가"),
    "adding": ("Sending and looking at the files", "파일을 보내고 확인하는 중"),
    "added": (
        "Added: {added}. Already there: {duplicates}. Rejected: {rejected}.",
        "추가됨: {added}. 이미 있음: {duplicates}. 거절됨: {rejected}.",
    ),
    "replace": ("Correct labels that are there", "이미 있는 이름표 고치기"),
    "replace_help": (
        "A photo that is in the data set with another label gets the one you send now.",
        "다른 이름표로 이미 들어 있는 사진의 이름표를 지금 보내는 것으로 바꿉니다.",
    ),
    "replaced": ("Labels corrected: {replaced}.", "이름표 고침: {replaced}."),
    "code_labelled_otherwise": (
        "It has another label already, in the data set or in what you sent. To correct the data "
        "set, send it alone and tick 'Correct labels that are there'.",
        "데이터나 보낸 자료에 다른 이름표로 이미 있습니다. 데이터의 이름표를 고치려면 '이미 있는 이름표 "
        "고치기'를 선택하고 그 사진만 다시 보내세요.",
    ),
    "rejected_title": ("Rejected files", "거절된 파일"),
    "content_title": ("What is in it", "들어 있는 사진"),
    "content": (
        "{samples} labelled photos or boxes of {classes} classes",
        "이름표가 붙은 사진 또는 상자 {samples}개, 종류 {classes}개",
    ),
    "content_none": ("Nothing is in it yet.", "아직 아무것도 없습니다."),
    "check_title": ("Is it ready?", "학습할 준비가 되었나요?"),
    "check_go": ("Check", "확인"),
    "check_working": ("Looking at every photo", "모든 사진을 살펴보는 중"),
    "check_ready": ("Ready to be learnt from.", "학습할 준비가 되었습니다."),
    "check_not_ready": (
        "Not ready yet. What follows has to be mended first.",
        "아직 준비되지 않았습니다. 아래 문제를 먼저 고치세요.",
    ),
    "check_clean": ("Nothing odd was found.", "이상한 점이 없습니다."),
    "check_found": ("What was found", "발견한 점"),
    "examples": ("For example", "예"),
    "split": (
        "To train: {train}. To choose: {val}. To test: {test}.",
        "학습: {train}. 검증: {val}. 시험: {test}.",
    ),
    "dataset_delete": ("Delete this data set", "이 데이터 삭제"),
    "dataset_delete_sure": (
        "All its photos are deleted for good. Really?",
        "들어 있는 사진이 모두 완전히 삭제됩니다. 정말 삭제할까요?",
    ),
    "dataset_deleted": ("Deleted.", "삭제했습니다."),
    "code_invalid_name": (
        "A name has 1 to 100 characters and no slashes.",
        "이름은 1~100자이며 빗금(/)을 쓸 수 없습니다.",
    ),
    "code_storage_full": ("The service's disk is full.", "서비스의 디스크가 가득 찼습니다."),
    "code_other_task": (
        "The data set holds photos with one label each and can't take these.",
        "이 데이터는 사진마다 이름표가 하나라서 추가할 수 없습니다.",
    ),
    "code_bad_labels": ("A label is missing or too long.", "이름표가 없거나 너무 깁니다."),
    "code_not_a_zip": (
        "This is no zip file, or a damaged one.",
        "zip 파일이 아니거나 손상되었습니다.",
    ),
    "code_bad_archive": (
        "The zip can't be read.",
        "zip을 읽을 수 없습니다.",
    ),
    "code_unknown_layout": (
        "The zip isn't laid out in a known way: one folder a label, or photos with AI-Hub JSON or YOLO text files.",
        "zip의 구성을 알 수 없습니다. 이름표마다 폴더 하나, 또는 사진과 AI-Hub JSON이나 YOLO 텍스트 파일이어야 합니다.",
    ),
    "code_no_photo": ("The zip holds no labelled photo.", "zip에 이름표가 붙은 사진이 없습니다."),
    "code_archive_bomb": (
        "Unpacked, the zip is far larger than packed; it isn't opened.",
        "압축을 풀면 지나치게 커지는 zip이라 열지 않습니다.",
    ),
    "code_archive_too_slow": (
        "Unpacking takes too long. Send smaller zips.",
        "압축을 푸는 데 너무 오래 걸립니다. 더 작은 zip으로 나누어 보내세요.",
    ),
    "code_too_many_entries": (
        "The zip holds too many files. Divide it.",
        "zip에 파일이 너무 많습니다. 나누어 보내세요.",
    ),
    "code_overlapping_entries": ("The zip is damaged.", "손상된 zip입니다."),
    "code_encrypted": ("It is encrypted.", "암호가 걸려 있습니다."),
    "code_link": ("It is a link, not a file.", "파일이 아니라 링크입니다."),
    "code_entry_too_large": ("It is too large.", "너무 큽니다."),
    "code_name_collision": (
        "Another file of the zip has the same name.",
        "zip 안에 같은 이름의 파일이 있습니다.",
    ),
    "code_unsafe_name": ("Its name leads out of the zip.", "zip 밖을 가리키는 이름입니다."),
    "code_unknown_compression": (
        "It is packed in a way that can't be read.",
        "읽을 수 없는 방식으로 압축되었습니다.",
    ),
    "code_damaged": ("It is damaged.", "손상되었습니다."),
    "found_unreadable": (
        "photos that can't be read; they are left out",
        "읽을 수 없는 사진 (사용하지 않음)",
    ),
    "found_bad_box": (
        "boxes without area or outside their photo; they are left out",
        "넓이가 없거나 사진 밖에 있는 상자 (사용하지 않음)",
    ),
    "found_large_box": (
        "boxes that cover nearly the whole photo; see whether they hold one thing",
        "사진 대부분을 덮는 상자. 한 개만 들어 있는지 확인하세요",
    ),
    "found_box_beyond_photo": (
        "boxes that reach beyond their photo; they are cut at its edge",
        "사진 밖으로 나간 상자 (가장자리에서 자름)",
    ),
    "found_label_conflict": (
        "copies under different labels; decide for one",
        "같은 사진에 다른 이름표. 하나로 정하세요",
    ),
    "found_split_leak": (
        "copies in both training and test; they are used in the later part only",
        "학습과 시험에 함께 있는 같은 사진 (뒤의 것에만 사용)",
    ),
    "found_duplicate": ("further copies of a photo", "같은 사진의 복사본"),
    "found_near_label_conflict": (
        "nearly the same picture under different labels; look at them",
        "거의 같은 사진에 다른 이름표. 확인하세요",
    ),
    "found_near_split_leak": (
        "nearly the same picture in both training and test; the test may flatter",
        "학습과 시험에 거의 같은 사진. 시험 점수가 부풀려질 수 있습니다",
    ),
    "found_near_duplicate": (
        "photos that are nearly the same as an earlier one",
        "앞의 사진과 거의 같은 사진",
    ),
    "found_group_leak": (
        "groups that are divided between training and test",
        "학습과 시험으로 나뉜 묶음",
    ),
    "found_unknown_test_class": (
        "classes of the validation or test part that are never trained",
        "검증이나 시험에만 있고 학습에는 없는 종류",
    ),
    "found_tiny_photo": ("very small photos; little can be seen in them", "아주 작은 사진"),
    "found_tiny_box": ("very small boxes; little can be seen in them", "아주 작은 상자"),
    "found_extreme_shape": ("very long or very wide photos", "매우 길거나 넓은 사진"),
    "found_single_class": (
        "There is one class only; add photos of another.",
        "한 종류뿐입니다. 다른 종류의 사진을 추가하세요.",
    ),
    "found_tiny_class": (
        "classes with fewer than ten photos; add more",
        "사진이 열 장보다 적은 종류. 더 추가하세요",
    ),
    "found_imbalance": (
        "classes with far fewer photos than the largest; add more",
        "가장 많은 종류에 비해 사진이 너무 적은 종류. 더 추가하세요",
    ),
    "found_similar_class_names": (
        "class names that look alike; are they the same?",
        "비슷한 이름의 종류. 같은 것인가요?",
    ),
    "found_cannot_split": (
        "There are too few photos to set some aside for testing.",
        "시험용으로 남겨 둘 사진이 부족합니다.",
    ),
}

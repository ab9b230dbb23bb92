"""Recognise: photos in, names out."""

from typing import Final

TEXTS: Final = {
    "recognise_title": ("What is this?", "이것은 무엇인가요?"),
    "recognise_intro": (
        "Give one or more photos; the answer names what they show.",
        "사진을 한 장 이상 올리면 무엇인지 알려 드립니다.",
    ),
    "source": ("Where from", "사진 가져오기"),
    "source_files": ("Files", "파일"),
    "source_camera": ("Camera", "카메라"),
    "photos_label": ("Photos", "사진"),
    "camera_label": ("Photo by camera", "카메라 사진"),
    "part_title": ("Only a part of the photo", "사진의 일부만 보기"),
    "part_intro": (
        "Where several things lie on one photo, draw a frame around the one that you mean.",
        "한 사진에 여러 개가 있으면 알고 싶은 것에 테두리를 맞추세요.",
    ),
    "part_which": ("Photo", "사진"),
    "part_use": ("Use a frame", "테두리 사용"),
    "part_across": ("From left to right, in pixels", "가로 범위(픽셀)"),
    "part_down": ("From top to bottom, in pixels", "세로 범위(픽셀)"),
    "part_alt": (
        "Photo {name} with the frame that was chosen",
        "선택한 테두리가 그려진 사진 {name}",
    ),
    "part_unreadable": (
        "This photo can't be shown here; the service will say why.",
        "이 사진은 여기에 표시할 수 없습니다. 이유는 서비스가 알려 줍니다.",
    ),
    "recognise_go": ("Recognise", "알아보기"),
    "recognise_again": ("Start over", "새로 시작"),
    "working": ("Photos being looked at: {count}", "살펴보는 사진: {count}장"),
    "earlier": ("Earlier answers", "이전 결과"),
    "answer_alt": ("Photo {name}: {label}", "사진 {name}: {label}"),
    "answer_alt_box": (
        "Photo {name}: {label}, inside the frame",
        "사진 {name}: 테두리 안은 {label}",
    ),
    "confidence": ("Confidence {percent} %", "확신도 {percent} %"),
    "unsure": ("Not sure", "확실하지 않음"),
    "unsure_why": (
        "It could be another of the answers below. Take another photo, nearer and in better "
        "light, before you rely on it.",
        "아래의 다른 후보일 수도 있습니다. 믿고 쓰기 전에 더 가까이, 더 밝은 곳에서 다시 찍어 보세요.",
    ),
    "no_label": ("None of the known things", "아는 것이 없음"),
    "photo_trouble": ("This photo can't be used", "사용할 수 없는 사진"),
    "top": ("Most likely", "가능성이 높은 순서"),
    "all_labels": ("Seen on this photo", "사진에서 찾은 것"),
    "info": ("Information", "정보"),
    "no_info": ("Nothing more is known of it.", "추가 정보가 없습니다."),
    "not_advice": (
        "The answer comes from a picture alone and can be wrong. Check the imprint and ask a "
        "pharmacist before you take a medicine.",
        "사진만 보고 한 답이라 틀릴 수 있습니다. 약을 드시기 전에 각인을 확인하고 약사와 상담하세요.",
    ),
    "map_title": ("Where did it look?", "어디를 보고 판단했나요?"),
    "map_method": ("Method", "방법"),
    "map_auto": ("The best there is", "가장 알맞은 방법"),
    "map_gradcam": ("Grad-CAM", "Grad-CAM"),
    "map_eigencam": ("EigenCAM", "EigenCAM"),
    "map_occlusion": ("Occlusion (slow)", "가리기(Occlusion, 느림)"),
    "map_go": ("Show the map", "지도 보기"),
    "map_working": ("Making the map", "지도를 만드는 중"),
    "map_caption": (
        "Map by {method}: warm places counted most",
        "{method} 지도: 따뜻한 색일수록 중요",
    ),
    "map_caption_class": (
        "Map by {method} for {label}: warm places spoke for it",
        "{method} 지도({label}): 따뜻한 색일수록 이 답의 근거",
    ),
    "map_of_photo": (
        "This method shows what the network saw, not what speaks for one answer.",
        "이 방법은 특정 답의 근거가 아니라 신경망이 본 곳을 보여 줍니다.",
    ),
    "map_alt": (
        "Heat map over photo {name}, made by {method}",
        "{method}로 만든 사진 {name}의 열지도",
    ),
    "code_unknown_class": (
        "The model that is served no longer knows this.",
        "지금 모델은 더 이상 이것을 알지 못합니다.",
    ),
    "code_too_many_boxes": (
        "Those are more frames than the service takes at once.",
        "한 번에 보낼 수 있는 테두리 수를 넘었습니다.",
    ),
    "code_bad_boxes": ("A frame doesn't fit its photo.", "테두리가 사진과 맞지 않습니다."),
    "code_job_deleted": ("The job was deleted.", "삭제된 작업입니다."),
    "code_request_gone": (
        "The photos are no longer there. Send them again.",
        "사진이 더 이상 없습니다. 다시 보내세요.",
    ),
    "code_method_not_possible": (
        "The model that is served can't make this kind of map. Choose another method.",
        "지금 모델로는 이 지도를 만들 수 없습니다. 다른 방법을 고르세요.",
    ),
}

#: What AI-Hub and the Korean drug lists call their fields, in the order that is shown.
FIELDS: Final = {
    "dl_name": ("Name", "제품명"),
    "dl_name_en": ("Name (English)", "제품명(영문)"),
    "dl_company": ("Company", "제조사"),
    "dl_company_en": ("Company (English)", "제조사(영문)"),
    "dl_material": ("Ingredient", "주성분"),
    "dl_material_en": ("Ingredient (English)", "주성분(영문)"),
    "di_class_no": ("Kind of medicine", "약효 분류"),
    "di_etc_otc_code": ("Prescription", "전문/일반"),
    "chart": ("Description", "성상"),
    "drug_shape": ("Shape", "모양"),
    "dl_custom_shape": ("Form", "제형"),
    "form_code_name": ("Form", "제형 코드"),
    "color_class1": ("Colour", "색상"),
    "color_class2": ("Second colour", "색상(뒷면)"),
    "print_front": ("Imprint, front", "각인(앞면)"),
    "print_back": ("Imprint, back", "각인(뒷면)"),
    "line_front": ("Line, front", "분할선(앞면)"),
    "line_back": ("Line, back", "분할선(뒷면)"),
    "leng_long": ("Length (mm)", "긴 지름(mm)"),
    "leng_short": ("Width (mm)", "짧은 지름(mm)"),
    "thick": ("Thickness (mm)", "두께(mm)"),
    "di_item_permit_date": ("Permitted on", "허가일"),
    "item_seq": ("Item number", "품목 번호"),
    "dl_mapping_code": ("Code", "코드"),
    "dl_idx": ("Number", "번호"),
}

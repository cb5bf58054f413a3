"""One table: each bad input that a person may bring to camera, video, web page, demo page, commands
and batch, and the tests that try it. An entry whose test or case is gone fails"""
import ast
from functools import cache
from pathlib import Path
import pytest

HERE = Path(__file__).resolve().parent
TABLE = { # what somebody brings: file, test, and (where it is one of several) the case's name
    # Photos: in Python and the commands, on the page, in the batch
    'missing': ['cli bad_photos missing.jpg', 'video test_bad_source missing',
                'batch test_from_a_web_server_and_a_list'],
    'unreadable': ['bad_input_predict test_what_we_may_not_read', 'video test_no_permission'],
    'empty': ['cli bad_photos empty.jpg', 'app test_bad_upload nothing',
              'demo test_bad_photos empty.png', 'video test_bad_source empty',
              'batch test_each_picture_is_there empty'],
    'truncated': ['cli bad_photos cut.png', 'app test_bad_upload cut short',
                  'demo test_bad_photos cut.png', 'batch test_each_picture_is_there cut'],
    'text named .jpg': ['cli bad_photos text.jpg', 'app test_bad_upload a text',
                        'demo test_bad_photos text.jpg', 'batch test_each_picture_is_there text'],
    '20,000x20,000': ['bad_input_predict test_bad_file 20,000 x 20,000', 'cli bad_photos huge.png',
                      'app test_bad_upload very many pixels'],
    '1x1': ['cli bad_photos one.png', 'bad_input_predict test_tiny_or_thin_photo_has_no_face',
            'app test_strange_pictures_have_an_answer one pixel', 'demo test_bad_photos point.png'],
    'CMYK': ['cli bad_photos cmyk.tiff', 'app test_strange_pictures_have_an_answer CMYK'],
    'palette': ['cli bad_photos palette.gif', 'app test_strange_pictures_have_an_answer a palette'],
    '16-bit': ['cli bad_photos deep.png', 'app test_strange_pictures_have_an_answer 16 bits'],
    'HEIC without its plug-in': ['bad_input_predict test_bad_file HEIC', 'app test_bad_upload heic',
                                 'cli bad_photos iphone.jpg', 'demo test_bad_photos iphone.jpg'],
    'no face': ['cli test_nothing_found_ends_with_1', 'app test_no_face',
                'demo test_bad_photos grey.png', 'video test_a_video_without_a_face',
                'batch test_each_picture_is_there'],
    'a hundred faces': ['predict test_a_hundred_faces', 'app test_a_hundred_faces'],
    # Video and camera
    'video without a frame': ['video test_bad_source cut after the header',
                              'video test_bad_source only sound'],
    'video cut short': ['video test_an_mp4_without_its_end',
                        'video test_a_file_that_ends_early_is_answered_as_far_as_it_goes'],
    'video of variable rate': ['video test_variable_frame_rate', 'video test_a_rate_of_a_thousand'],
    'video of odd size': ['video test_odd_size'],
    'a directory': ['video test_bad_source directory', 'cli bad_photos folder'],
    'camera absent': ['video test_camera_absent', 'cli test_misuse_of_video 63',
                      'demo test_a_browser_that_lacks_something absent'],
    'camera gone while running': ['video test_camera_gone_while_running',
                                  'demo test_a_camera_that_goes_while_it_runs'],
    # What is written
    'no permission': ['video test_no_permission', 'app test_bad_arguments no/such/a.db'],
    'disk full': ['video test_disk_full', 'video test_no_room_for_the_table', 'cli test_full_disk',
                  'video test_a_limit_on_file_size', 'batch test_full_disk_keeps_what_is_done'],
    'output exists': ['video test_files_that_exist_are_kept',
                      'cli test_pictures_are_written_and_not_replaced',
                      'cli test_convert_keeps_the_faces', 'batch test_another_run_is_refused'],
    # Networks
    'unknown model': ['cli test_misuse_is_one_line_and_2 unknown model',
                      'app test_bad_arguments smal', 'bad_input_predict test_unknown_name'],
    'another class count': ['bad_input_predict test_network_that_does_not_fit_its_class_names'],
    'an ONNX with other inputs': ['cli test_misuse_is_one_line_and_2 other inputs'],
    'a pickle named .onnx': ['cli test_misuse_is_one_line_and_2 a pickle named .onnx'],
    # The web page
    'upload over the limit': ['app test_bad_upload a large file',
                              'app test_bad_upload_by_gradio_client',
                              'app test_a_bad_video_is_one_sentence large.mp4',
                              'app test_a_bad_video_is_one_sentence frames.avi'],
    'upload of the wrong type': ['app test_bad_upload html', 'app test_bad_upload svg',
                                 'app test_a_bad_video_is_one_sentence text.mp4'],
    'script in a question': ['app test_one_answer_a_visitor', 'app test_from_visitor_to_dashboard'],
    'script in a file name': ['app test_wrong_file_is_one_sentence_on_the_page',
                              'demo test_bad_photos onerror'],
    'SQL in an answer': ['app test_bad_answer SQL'],
    'a forged cookie': ['app test_bad_answer a forged cookie',
                        'app test_a_signature_belongs_to_one_name'],
    'path traversal': ['app test_no_path_leads_outside', 'app test_no_path_leads_to_the_answers'],
    '1,000 posts from one address': ['app test_a_thousand_posts_from_one_address'],
    'port taken': ['app test_port_taken', 'cli test_serve_until_interrupted'],
    # Batch
    'scheduler unreachable': ['batch test_no_scheduler_and_no_worker'],
    'worker lost': ['batch test_a_killed_worker_loses_and_doubles_nothing'],
    'scheduler lost': ['batch test_a_lost_scheduler'],
    # The demo page
    'demo: camera refused': ['demo test_a_browser_that_lacks_something refused'],
    'demo: WebAssembly missing': ['demo test_a_browser_that_lacks_something no WebAssembly'],
    'demo: no picture': ['demo test_bad_photos text.jpg'],
    'demo: 100 megapixels': ['demo test_bad_photos huge.png'],
}


@cache
def functions(file):
    "Name -> text of each function in a file of tests, with its decorators and the tables it names"
    text = (HERE/f'test_{file}.py').read_text(encoding='utf-8')
    tables = {n.targets[0].id: ast.get_source_segment(text, n) for n in ast.parse(text).body
              if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)}
    found = {}
    for f in ast.parse(text).body:
        if not isinstance(f, ast.FunctionDef): continue
        parts = [ast.get_source_segment(text, part) for part in (*f.decorator_list, f)]
        named = {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} & tables.keys()
        found[f.name] = '\n'.join([*parts, *(tables[n] for n in sorted(named))])
    return found


@pytest.mark.parametrize('brought', TABLE)
def test_is_tried_by(brought):
    for entry in TABLE[brought]:
        file, name, *case = entry.split(' ', 2)
        assert name in functions(file), f'tests/test_{file}.py has no {name}'
        if not case: continue
        assert case[0] in functions(file)[name], f'tests/test_{file}.py::{name}: no {case[0]}'

